/**
 * An answer on its way out. Chunks of one turn of the event loop leave in one frame, in the head's frame if they can;
 * nothing exceeds the credit that the worker gave. One writer: the invocation it belongs to.
 */
import { answerWindowBytes, maxDataBytes } from '../../../services/contracts/frames.ts';

/** Where the frames go. */
export interface AnswerFrames {
  head(body: Uint8Array, end: boolean): void;
  data(bytes: Uint8Array): void;
  end(): void;
}

export class AnswerBody {
  readonly #frames: AnswerFrames;
  #creditBytes = answerWindowBytes;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #headSent = false;
  #ended = false;
  #closed = false;
  #flush: NodeJS.Immediate | undefined;
  #wake: (() => void) | undefined;

  constructor(frames: AnswerFrames) {
    this.#frames = frames;
  }

  /**
   * Takes a chunk; it is copied unless it is large.
   * @returns nothing while there is room, else a promise for when all is sent; large chunks must not change before
   */
  push(chunk: Uint8Array): Promise<void> | undefined {
    if (this.#closed || chunk.byteLength === 0) return undefined;
    const large = chunk.byteLength >= maxDataBytes;
    this.#pending.push(large ? chunk : Uint8Array.from(chunk));
    this.#pendingBytes += chunk.byteLength;
    if (this.#pendingBytes < maxDataBytes) {
      this.#schedule();
      return undefined;
    }
    this.#send();
    if (this.#pendingBytes === 0) return undefined;
    return this.#sent();
  }

  /** Sends the head at the end of this turn even if no chunk comes. */
  open(): void {
    this.#schedule();
  }

  /** No more chunks. Resolves once the last byte is with the connection. */
  async end(): Promise<void> {
    this.#ended = true;
    this.#send();
    if (!this.#closed) await this.#sent();
  }

  grant(bytes: number): void {
    this.#creditBytes += bytes;
    if (this.#headSent) this.#send();
  }

  /** Sends nothing more and lets go whoever waits. */
  close(): void {
    this.#closed = true;
    this.#pending = [];
    this.#pendingBytes = 0;
    clearImmediate(this.#flush);
    this.#wake?.();
  }

  #sent(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #schedule(): void {
    this.#flush ??= setImmediate(() => {
      this.#flush = undefined;
      this.#send();
    });
  }

  #send(): void {
    if (this.#closed) return;
    if (!this.#headSent) {
      this.#headSent = true;
      const first = this.#take(answerWindowBytes);
      const whole = this.#ended && this.#pendingBytes === 0;
      this.#frames.head(first, whole);
      if (whole) {
        this.close();
        return;
      }
    }
    while (this.#pendingBytes > 0 && this.#creditBytes > 0) {
      const bytes = this.#take(Math.min(maxDataBytes, this.#creditBytes));
      this.#creditBytes -= bytes.byteLength;
      this.#frames.data(bytes);
    }
    if (this.#pendingBytes > 0) return;
    if (this.#ended) {
      this.#frames.end();
      this.close();
    } else this.#wake?.();
  }

  /** Up to `bytes` of what is pending, as one piece. */
  #take(bytes: number): Uint8Array {
    const pieces: Uint8Array[] = [];
    let left = bytes;
    while (left > 0) {
      const first = this.#pending[0];
      if (!first) break;
      const piece = first.byteLength <= left ? first : first.subarray(0, left);
      if (piece === first) this.#pending.shift();
      else this.#pending[0] = first.subarray(left);
      pieces.push(piece);
      left -= piece.byteLength;
    }
    this.#pendingBytes -= bytes - left;
    return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces, bytes - left);
  }
}
