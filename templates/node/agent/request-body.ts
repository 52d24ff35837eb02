/**
 * A request body on its way in: whole with the request, or streamed in `data` frames as far as it was granted.
 * Each invocation has one; only the agent feeds it.
 */
import { FrameError } from '../../../services/contracts/frames.ts';

/** Most bytes that are granted or buffered ahead of the reader. */
const aheadBytes = 256 * 1024;

export class RequestBody {
  readonly #grant: (bytes: number) => void;
  readonly #queue: Buffer[] = [];
  #queuedBytes = 0;
  /** Credit that the sender has not used yet. */
  #grantedBytes = 0;
  #ended: boolean;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  /** @param whole the body when it came with the request; undefined when it is streamed */
  constructor(whole: Buffer | undefined, grant: (bytes: number) => void) {
    this.#grant = grant;
    this.#ended = whole !== undefined;
    if (whole && whole.byteLength > 0) this.#enqueue(whole);
  }

  /** @throws FrameError when the sender exceeds its credit or sends after the end */
  receive(chunk: Buffer): void {
    if (this.#failure) return;
    if (this.#ended) throw new FrameError('data after the end of the request body');
    if (chunk.byteLength > this.#grantedBytes) {
      throw new FrameError(`${chunk.byteLength} bytes of request body, ${this.#grantedBytes} granted`);
    }
    this.#grantedBytes -= chunk.byteLength;
    if (chunk.byteLength > 0) this.#enqueue(chunk);
    this.#wake?.();
  }

  finish(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** No more will come: whoever reads an unfinished body, now or later, gets `reason`. */
  stop(reason: Error): void {
    if (this.#ended) return;
    this.#failure ??= reason;
    this.#queue.length = 0;
    this.#wake?.();
  }

  /** All of it. */
  async bytes(): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for (;;) {
      const chunk = await this.#next();
      if (!chunk) return Buffer.concat(chunks);
      chunks.push(chunk);
    }
  }

  /** As a web stream that grants credit as it is read. */
  stream(): ReadableStream<Uint8Array> {
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const chunk = await this.#next();
          // A copy with a buffer of its own: readers may transfer it.
          if (chunk) controller.enqueue(Uint8Array.from(chunk));
          else controller.close();
        },
      },
      // Nothing is asked for before somebody reads.
      { highWaterMark: 0 },
    );
  }

  async #next(): Promise<Buffer | undefined> {
    for (;;) {
      if (this.#failure) throw this.#failure;
      const chunk = this.#queue.shift();
      if (chunk) {
        this.#queuedBytes -= chunk.byteLength;
        this.#topUp();
        return chunk;
      }
      if (this.#ended) return undefined;
      this.#topUp();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  /** Grants anew once half of it is used: one `window` frame per 128 KiB, not per chunk. */
  #topUp(): void {
    const outstanding = this.#grantedBytes + this.#queuedBytes;
    if (this.#ended || this.#failure || outstanding > aheadBytes / 2) return;
    this.#grantedBytes += aheadBytes - outstanding;
    this.#grant(aheadBytes - outstanding);
  }

  #enqueue(chunk: Buffer): void {
    this.#queue.push(chunk);
    this.#queuedBytes += chunk.byteLength;
  }
}
