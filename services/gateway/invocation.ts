/**
 * One call from its arrival to its end.
 *
 * ```
 * receiving ──▶ waiting ──▶ started ──▶ answering ──▶ over
 *     └────────────┴───────────┴────────────┴──────────▲    deadline, client gone, error, worker lost
 * ```
 * `receiving`: an inline body is being read. `waiting`: for a worker, in the queue, or for an instance; it may be placed again.
 * `started`: an instance has it, and it is never repeated. `over`: everything that still arrives is ignored.
 */
import type { IncomingMessage } from 'node:http';
import { type ErrorBody, type ErrorCode, errorCodes, StokeError } from '../contracts/errors.ts';
import type { AnswerHead, QueuedInvocation, Stage, Started } from '../contracts/invocation.ts';
import type { Admission, Gauge } from './admission.ts';
import type { Answer } from './answer.ts';
import type { Dispatcher, Placeable } from './dispatcher.ts';
import type { KnownFunction } from './function-cache.ts';
import { bodyKind, readInline, Upload } from './request-body.ts';
import type { WorkerLink } from './worker-link.ts';

/** The worker speaks first at the deadline, if it can: it knows which stage used the time. */
const deadlineGraceMs = 250;

type Phase = 'receiving' | 'waiting' | 'started' | 'answering' | 'over';

export interface InvocationDeps {
  readonly dispatcher: Dispatcher;
  readonly admission: Admission;
  readonly session: string;
  readonly maxBodyBytes: number;
}

export class Invocation implements Placeable {
  readonly item: QueuedInvocation;
  readonly #deps: InvocationDeps;
  readonly #known: KnownFunction;
  readonly #answer: Answer;
  readonly #gauge: Gauge;
  readonly #timer: NodeJS.Timeout;
  #phase: Phase = 'receiving';
  #worker: WorkerLink | undefined;
  #upload: Upload | undefined;

  /** `item.body` is filled in here. The gauge was entered, and is left at the end. */
  constructor(deps: InvocationDeps, known: KnownFunction, answer: Answer, gauge: Gauge, item: QueuedInvocation) {
    this.#deps = deps;
    this.#known = known;
    this.#answer = answer;
    this.#gauge = gauge;
    this.item = item;
    this.#timer = setTimeout(() => this.#onDeadline(), known.timeoutMs + deadlineGraceMs);
    answer.onClose(() => this.#onClientClosed());
  }

  begin(request: IncomingMessage): void {
    switch (bodyKind(request)) {
      case 'empty':
        this.item.body = '';
        this.#place();
        return;
      case 'inline':
        readInline(request, (base64) => {
          this.item.body = base64;
          if (this.#phase === 'receiving') this.#place();
        });
        return;
      case 'streamed':
        this.#upload = new Upload(request, this.#deps.maxBodyBytes, {
          data: (chunk) => this.#worker?.sendData(this.item.stream, chunk),
          end: () => this.#worker?.sendEnd(this.item.stream),
          tooLarge: () => this.fail(bodyTooLarge(this.#deps.maxBodyBytes)),
        });
        this.#place();
        return;
    }
  }

  get waiting(): boolean {
    return this.#phase === 'waiting';
  }

  get dead(): boolean {
    return this.#phase === 'over';
  }

  assign(worker: WorkerLink, stream: number): void {
    this.#worker = worker;
    this.item.stream = stream;
  }

  fail(error: StokeError): void {
    if (this.#phase === 'over') return;
    this.#worker?.cancel(this.item.stream);
    this.#over();
    this.#answer.fail(error.toBody());
  }

  onRefused(cause: unknown): void {
    if (this.waiting) this.fail(new StokeError('unavailable', 'the queue refused the invocation', { cause }));
  }

  onStarted(started: Started): void {
    if (this.#phase !== 'waiting') return;
    this.#phase = 'started';
    this.#answer.setStarted(started);
    this.#upload?.open();
  }

  onHead(head: AnswerHead, body: Buffer): void {
    if (this.#phase === 'answering') {
      this.#protocolBroken(head.end, 'a second head');
      return;
    }
    this.#phase = 'answering';
    try {
      this.#answer.head(head, body);
    } catch (error) {
      if (!(error instanceof StokeError)) throw error;
      if (!head.end) {
        this.fail(error);
        return;
      }
      this.#over();
      this.#answer.fail(error.toBody());
      return;
    }
    if (head.end) this.#over();
  }

  onData(chunk: Buffer): void {
    if (this.#phase !== 'answering') {
      this.#protocolBroken(false, 'data before its head');
      return;
    }
    const bytes = this.#answer.data(chunk, (drained) => this.#grant(drained));
    if (bytes > 0) this.#grant(bytes);
  }

  onEnd(): void {
    if (this.#phase !== 'answering') {
      this.#protocolBroken(true, 'an end before its head');
      return;
    }
    this.#over();
    this.#answer.end();
  }

  onError(error: ErrorBody): void {
    this.#over();
    this.#answer.fail(this.#shown(error));
  }

  onWindow(bytes: number): void {
    this.#upload?.grant(bytes);
  }

  onLost(): void {
    this.#worker = undefined;
    // Without a start nothing of it was run: another worker takes it.
    if (this.waiting) this.#deps.dispatcher.place(this);
    else this.fail(new StokeError('worker_lost', 'the worker ended while the function was running'));
  }

  #place(): void {
    this.#phase = 'waiting';
    this.#deps.dispatcher.place(this);
  }

  #grant(bytes: number): void {
    if (this.#phase === 'answering') this.#worker?.grant(this.item.stream, bytes);
  }

  #protocolBroken(ended: boolean, what: string): void {
    if (ended) this.#worker = undefined;
    this.fail(new StokeError('protocol_violation', `the answer has ${what}`));
  }

  #onDeadline(): void {
    const obstacle = this.waiting ? this.#deps.dispatcher.obstacle() : undefined;
    this.fail(obstacle ?? deadlineExceeded(this.#phase, this.#known.timeoutMs));
  }

  #onClientClosed(): void {
    if (this.#phase === 'over') return;
    this.#worker?.cancel(this.item.stream);
    this.#over();
  }

  /** The only way to the end: gives back everything that the call held. */
  #over(): void {
    if (this.#phase === 'over') return;
    if (this.#phase === 'waiting') this.#deps.dispatcher.drop(this);
    this.#phase = 'over';
    clearTimeout(this.#timer);
    this.#deps.admission.leave(this.#gauge);
    this.#upload?.stop();
  }

  /** What the caller sees of an error: what the code said is the function's own affair unless its settings say otherwise. */
  #shown(error: ErrorBody): ErrorBody {
    const invocation = this.item.id;
    const instead = hiddenMessages[error.code];
    // A failed start of the platform's own names places of this machine: those are for the log, whatever the settings say.
    if (instead && (!this.#known.exposeErrors || errorCodes[error.code].kind === 'system'))
      return { code: error.code, message: instead, details: { invocation } };
    const { stack: _, output, ...details } = error.details ?? {};
    const said = this.#known.exposeErrors && output !== undefined ? { output } : {};
    return { code: error.code, message: error.message, details: { ...details, ...said, invocation } };
  }
}

/** Said to callers in place of the error's own text; that is in the function's log. */
const hiddenMessages: Partial<Record<ErrorCode, string>> = {
  handler_error: 'the function threw an error; its log has the message',
  function_unloadable: 'the function could not be loaded; its log has the reason',
  container_start_failed: 'an instance could not be started; the log has the reason',
};

function deadlineExceeded(phase: Phase, timeoutMs: number): StokeError {
  const stage: Stage = phase === 'receiving' || phase === 'waiting' ? 'queue' : 'handler';
  return new StokeError('deadline_exceeded', `no answer within ${timeoutMs / 1000} s`, {
    details: { stage, timeoutMs },
  });
}

export function bodyTooLarge(limitBytes: number): StokeError {
  return new StokeError('body_too_large', `the request body is larger than ${limitBytes} bytes`, {
    details: { limitBytes },
  });
}
