/** The answer to a query on the reply channel: frames of a stream, never more than the gateway has granted. */
import { toErrorBody } from '../contracts/errors.ts';
import { answerWindowBytes, encodeHeadAndBody, frameTypes, maxDataBytes } from '../contracts/frames.ts';
import type { AnswerHead } from '../contracts/invocation.ts';
import type { GatewayStreams } from './invocation.ts';

const noBody = Buffer.alloc(0);

export class QueryAnswer {
  readonly #gateway: GatewayStreams;
  readonly #stream: number;
  readonly #ending = new AbortController();
  #credit = answerWindowBytes;
  #granted: (() => void) | undefined;
  #begun = false;

  constructor(gateway: GatewayStreams, stream: number) {
    this.#gateway = gateway;
    this.#stream = stream;
  }

  /** Aborted when nobody waits for the answer any more, and after its end. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /** The whole answer. */
  json(value: unknown): void {
    const body = Buffer.from(JSON.stringify(value));
    if (body.byteLength > maxDataBytes) {
      void this.write(body).then(() => this.end());
      return;
    }
    this.#head('application/json', true, body);
    this.#over();
  }

  /** Sends a piece of NDJSON; resolves when there is room for the next, or nobody waits any more. */
  async write(bytes: Buffer): Promise<void> {
    this.begin();
    for (let at = 0; at < bytes.byteLength && !this.signal.aborted; ) {
      if (this.#credit <= 0) await this.#moreCredit();
      const end = Math.min(bytes.byteLength, at + Math.min(this.#credit, maxDataBytes));
      if (this.signal.aborted || end <= at) continue;
      this.#credit -= end - at;
      this.#gateway.send(frameTypes.data, this.#stream, bytes.subarray(at, end));
      at = end;
    }
  }

  /** Sends the head of a streamed answer, if it was not sent. */
  begin(): void {
    if (this.#begun || this.signal.aborted) return;
    this.#begun = true;
    this.#head('application/x-ndjson', false, noBody);
  }

  end(): void {
    if (this.signal.aborted) return;
    this.begin();
    this.#gateway.send(frameTypes.end, this.#stream);
    this.#over();
  }

  fail(error: unknown): void {
    if (this.signal.aborted) return;
    this.#gateway.send(frameTypes.error, this.#stream, JSON.stringify(toErrorBody(error)));
    this.#over();
  }

  grant(bytes: number): void {
    this.#credit += bytes;
    this.#granted?.();
  }

  cancel(): void {
    this.#over();
  }

  #head(type: string, end: boolean, body: Buffer): void {
    const head: AnswerHead = { status: 200, headers: ['content-type', type], end, handlerMs: 0 };
    this.#gateway.send(frameTypes.head, this.#stream, encodeHeadAndBody(JSON.stringify(head), body));
  }

  #moreCredit(): Promise<void> {
    return new Promise((resolve) => {
      this.#granted = resolve;
    });
  }

  #over(): void {
    if (this.signal.aborted) return;
    this.#ending.abort();
    this.#granted?.();
    this.#gateway.finished(this.#stream);
  }
}
