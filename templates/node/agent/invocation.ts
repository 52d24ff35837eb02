/**
 * One invocation in the instance, from `request` to `settled`:
 *
 * ```
 *  running ──head…end | error | cancel──▶ answered ──handler and waitUntil are over──▶ settled
 * ```
 * After `answered` nothing of the answer is sent, whatever the function still does; after `settled` nothing at all.
 */
import { performance } from 'node:perf_hooks';
import type { AgentSettings } from '../../../services/contracts/agent.ts';
import type { ErrorBody } from '../../../services/contracts/errors.ts';
import { answerWindowBytes, encodeHeadAndBody, frameTypes } from '../../../services/contracts/frames.ts';
import type { InstanceRequest } from '../../../services/contracts/invocation.ts';
import type { Answer } from './answer.ts';
import { AnswerBody } from './answer-body.ts';
import { type ChunkSource, chunkSource } from './chunk-source.ts';
import type { Channel } from './connection.ts';
import { InvocationContext, LazyParts } from './context.ts';
import type { OutputOwner } from './output.ts';
import { RequestBody } from './request-body.ts';

export interface InvocationHooks {
  /** The body's stream, or a promise given to `waitUntil`, failed when nobody listens any more. */
  onLateFailure(invocation: Invocation, what: string, error: unknown): void;
  /** Right before `settled` is sent. */
  onSettle(invocation: Invocation): void;
}

const nothing = new Uint8Array(0);

export class Invocation implements OutputOwner {
  readonly stream: number;
  readonly request: InstanceRequest;
  readonly body: RequestBody;
  readonly context: InvocationContext;
  droppedBytes = 0;
  readonly #channel: Channel;
  readonly #hooks: InvocationHooks;
  readonly #lazy: LazyParts;
  readonly #startedMs = performance.now();
  #state: 'running' | 'answered' | 'settled' = 'running';
  /** The handler with its answer, and each promise of `waitUntil`. */
  #holds = 1;
  #answerBody: AnswerBody | undefined;
  #source: ChunkSource | undefined;
  #cancelReason: Error | undefined;

  constructor(
    stream: number,
    request: InstanceRequest,
    whole: Buffer | undefined,
    settings: AgentSettings,
    channel: Channel,
    hooks: InvocationHooks,
  ) {
    this.stream = stream;
    this.request = request;
    this.#channel = channel;
    this.#hooks = hooks;
    this.#lazy = new LazyParts(request);
    this.context = new InvocationContext(request, settings, this.#lazy, (promise) => this.#waitUntil(promise));
    this.body = new RequestBody(whole, (bytes) => this.#grant(bytes));
  }

  get state(): 'running' | 'answered' | 'settled' {
    return this.#state;
  }

  /** Sends the answer. Afterwards, for a streamed one at its end, the handler's hold on the slot is over. */
  answer(answer: Answer): void {
    const body = hasBody(this.request.method, answer.status) ? answer.body : null;
    const unused = body === null && typeof answer.body === 'object' && !(answer.body instanceof Uint8Array);
    if (unused && answer.body) this.#discard(answer.body as AsyncIterable<unknown>);
    if (this.#state !== 'running') this.#release();
    else if (body === null || typeof body === 'string' || body instanceof Uint8Array) this.#sendWhole(answer, body);
    else this.#sendStream(answer, chunkSource(body));
  }

  /** Answers with an error, also in the middle of an answer, and ends the handler's hold on the slot. */
  fail(error: ErrorBody): void {
    this.sendError(error);
    this.#release();
  }

  /** Only the frame: for last words, when nothing is settled any more. */
  sendError(error: ErrorBody): void {
    if (this.#state !== 'running') return;
    this.#answered();
    this.#channel.send(frameTypes.error, this.stream, JSON.stringify(error));
  }

  /** The caller is gone: tells the function and sends nothing more of the answer. */
  cancel(): void {
    if (this.#state === 'settled') return;
    this.#cancelReason = new DOMException('the caller of the invocation is gone', 'AbortError');
    if (this.#state === 'running') this.#answered();
    this.#source?.cancel(this.#cancelReason);
    this.#lazy.abort(this.#cancelReason);
  }

  /** More credit for the answer. */
  grantAnswer(bytes: number): void {
    this.#answerBody?.grant(bytes);
  }

  #sendWhole(answer: Answer, body: string | Uint8Array | null): void {
    const bytes = typeof body === 'string' ? Buffer.from(body) : (body ?? nothing);
    if (bytes.byteLength <= answerWindowBytes) {
      this.#head(answer, bytes, true);
      this.#answered();
      this.#release();
      return;
    }
    const out = this.#openBody(answer);
    out.push(bytes);
    out.end().then(() => this.#answerSent());
  }

  #sendStream(answer: Answer, source: ChunkSource): void {
    this.#source = source;
    const out = this.#openBody(answer);
    out.open();
    this.#pump(source, out).then(
      () => this.#answerSent(),
      (error) => {
        source.cancel(error);
        if (this.#state === 'running') this.#hooks.onLateFailure(this, 'answer', error);
        this.#release();
      },
    );
  }

  async #pump(source: ChunkSource, out: AnswerBody): Promise<void> {
    for (;;) {
      const chunk = await source.next();
      if (this.#state !== 'running') return;
      if (!chunk) return out.end();
      const room = out.push(chunk);
      if (room) await room;
      if (this.#state !== 'running') return;
    }
  }

  #openBody(answer: Answer): AnswerBody {
    this.#answerBody = new AnswerBody({
      head: (body, end) => this.#head(answer, body, end),
      data: (bytes) => this.#channel.send(frameTypes.data, this.stream, bytes),
      end: () => this.#channel.send(frameTypes.end, this.stream),
    });
    return this.#answerBody;
  }

  #answerSent(): void {
    if (this.#state === 'running') this.#answered();
    this.#release();
  }

  #head(answer: Answer, body: Uint8Array, end: boolean): void {
    const handlerMs = Math.round((performance.now() - this.#startedMs) * 1000) / 1000;
    const head = JSON.stringify({ status: answer.status, headers: answer.headers, end, handlerMs });
    this.#channel.send(frameTypes.head, this.stream, encodeHeadAndBody(head, body));
  }

  #grant(bytes: number): void {
    if (this.#state !== 'running') return;
    const payload = Buffer.allocUnsafe(4);
    payload.writeUInt32BE(bytes, 0);
    this.#channel.send(frameTypes.window, this.stream, payload);
  }

  #waitUntil(promise: unknown): void {
    // After the end there is no slot to hold; what still runs is the function's own affair.
    if (this.#state === 'settled') return;
    this.#holds++;
    Promise.resolve(promise).then(
      () => this.#release(),
      (error) => {
        this.#hooks.onLateFailure(this, 'waitUntil', error);
        this.#release();
      },
    );
  }

  #answered(): void {
    this.#state = 'answered';
    this.#answerBody?.close();
    // Nobody upstream sends the rest of a body after the answer.
    this.body.stop(this.#cancelReason ?? new Error('the answer was sent before the request body was read'));
  }

  #release(): void {
    this.#holds--;
    if (this.#holds > 0) return;
    this.#lazy.dispose();
    this.#hooks.onSettle(this);
    this.#state = 'settled';
    this.#channel.send(frameTypes.settled, this.stream);
  }

  #discard(body: AsyncIterable<unknown>): void {
    chunkSource(body).cancel(new Error('this answer has no body'));
  }
}

/** RFC 9110: answers to HEAD, and these statuses, have none. */
function hasBody(method: string, status: number): boolean {
  return method !== 'HEAD' && status !== 204 && status !== 205 && status !== 304;
}
