/**
 * One end of a framed connection (`contracts/frames.ts`) over a socket. Writes of one turn of the event loop leave
 * in one system call; a broken protocol ends the connection with a `FrameError`.
 */
import type { Socket } from 'node:net';
import { encodeFrame, type Frame, FrameError, FrameReader, type FrameType, frameHeader } from '../contracts/frames.ts';

export interface FrameHandlers {
  /** The payload is a view that is valid only during the call. A thrown `FrameError` ends the connection. */
  onFrame(frame: Frame): void;
  /** Called once, whatever ended it: the peer, an error, or `close()` (then without a reason). */
  onClose(reason: Error | undefined): void;
}

/** Payloads above this are written beside their header, not copied behind it. */
const copyBelowBytes = 16 * 1024;

export class FrameConnection {
  readonly #socket: Socket;
  readonly #handlers: FrameHandlers;
  readonly #reader = new FrameReader();
  #reason: Error | undefined;
  #corked = false;
  #closed = false;

  /** Takes the socket over. `first` is what was read from it already. */
  constructor(socket: Socket, handlers: FrameHandlers, first?: Buffer) {
    this.#socket = socket;
    this.#handlers = handlers;
    socket.setNoDelay?.(true);
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => {
      this.#reason ??= error;
    });
    socket.on('close', () => {
      this.#closed = true;
      handlers.onClose(this.#reason);
    });
    if (first && first.byteLength > 0) this.#receive(first);
  }

  get closed(): boolean {
    return this.#closed || this.#socket.destroyed;
  }

  /** Bytes written that the kernel has not taken yet. */
  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  /** After the end, frames are dropped: `onClose` has told everyone who waits. */
  send(type: FrameType, stream: number, payload: Uint8Array | string = ''): void {
    if (this.closed) return;
    this.#cork();
    if (typeof payload === 'string' || payload.byteLength <= copyBelowBytes) {
      this.#socket.write(encodeFrame(type, stream, payload));
    } else {
      this.#socket.write(frameHeader(type, stream, payload.byteLength));
      this.#socket.write(payload);
    }
  }

  /** Ends it at once; `reason` is what `onClose` gets. */
  close(reason?: Error): void {
    this.#reason ??= reason;
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    if (this.closed) return;
    try {
      this.#reader.push(chunk, (frame) => {
        // A handler may close the connection in the middle of a chunk; the rest of it is then nobody's.
        if (!this.closed) this.#handlers.onFrame(frame);
      });
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.close(error);
    }
  }

  #cork(): void {
    if (this.#corked) return;
    this.#corked = true;
    this.#socket.cork();
    process.nextTick(() => {
      this.#corked = false;
      this.#socket.uncork();
    });
  }
}
