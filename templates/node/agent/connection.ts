/**
 * The agent's end of the control connection: frames in, frames out. Writes of one turn of the event loop leave in one
 * system call, made directly on the descriptor; only what the kernel does not take at once goes through libuv.
 * This class is the only writer of the descriptor and of its queues.
 */
import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { type Frame, FrameReader, type FrameType, frameHeaderBytes } from '../../../services/contracts/frames.ts';

/** What the rest of the agent needs of a connection. */
export interface Channel {
  send(type: FrameType, stream: number, payload?: Uint8Array | string): void;
  /** Bytes that the kernel has not taken yet. */
  readonly queuedBytes: number;
}

export interface ChannelHandlers {
  onFrame(frame: Frame): void;
  /** Everything queued has been taken by the kernel, after a time in which it had not. */
  onDrained(): void;
  /** The worker is gone, or what it sent is not a frame. */
  onEnd(reason: Error | undefined): void;
}

const bufferBytes = 64 * 1024;
/** How long last words wait for a worker that does not read. */
const lastWordsMs = 1000;

export class ControlConnection implements Channel {
  readonly #fd: number;
  readonly #socket: Socket;
  readonly #handlers: ChannelHandlers;
  /** Frames of this turn. */
  readonly #out = Buffer.allocUnsafeSlow(bufferBytes);
  #outBytes = 0;
  #flushScheduled = false;
  /** Handed to libuv, which has written an unknown part of it. */
  #inFlight: Buffer | undefined;
  /** Behind it, in order. */
  #backlog: Buffer[] = [];
  #backlogBytes = 0;
  #ended = false;

  constructor(fd: number, handlers: ChannelHandlers) {
    this.#fd = fd;
    this.#handlers = handlers;
    const reader = new FrameReader();
    const received = Buffer.allocUnsafeSlow(bufferBytes);
    const onFrame = (frame: Frame) => handlers.onFrame(frame);
    // One fixed receive buffer: no allocation of 64 KiB per read. Frames are cut from a copy, which may be kept.
    const callback = (bytes: number) => {
      try {
        reader.push(Buffer.from(received.subarray(0, bytes)), onFrame);
      } catch (error) {
        this.#end(error as Error);
      }
      return true;
    };
    this.#socket = new Socket({ fd, readable: true, writable: true, onread: { buffer: received, callback } });
    this.#socket.on('end', () => this.#end(undefined));
    this.#socket.on('error', (error) => this.#end(error));
    this.#socket.on('close', () => this.#end(undefined));
  }

  get queuedBytes(): number {
    return this.#outBytes + this.#backlogBytes + (this.#inFlight?.byteLength ?? 0);
  }

  send(type: FrameType, stream: number, payload: Uint8Array | string = ''): void {
    if (this.#ended) return;
    const payloadBytes = typeof payload === 'string' ? Buffer.byteLength(payload) : payload.byteLength;
    const frameBytes = frameHeaderBytes + payloadBytes;
    if (this.#outBytes + Math.min(frameBytes, frameHeaderBytes + bufferBytes / 2) > bufferBytes) this.#flush();
    const out = this.#out;
    const offset = this.#outBytes;
    out.writeUInt32BE(payloadBytes + 5, offset);
    out[offset + 4] = type;
    out.writeUInt32BE(stream, offset + 5);
    this.#outBytes = offset + frameHeaderBytes;
    if (offset + frameBytes <= bufferBytes) {
      if (typeof payload === 'string') out.write(payload, this.#outBytes);
      else out.set(payload, this.#outBytes);
      this.#outBytes = offset + frameBytes;
      this.#schedule();
    } else {
      this.#flush();
      this.#write(typeof payload === 'string' ? Buffer.from(payload) : payload);
    }
  }

  /** Has everything queued written before it returns, waiting a bounded time for the worker to read. */
  drainNow(): void {
    this.#flush();
    const rest = this.#inFlight ? [unwritten(this.#socket, this.#inFlight)] : [];
    rest.push(...this.#backlog);
    this.#ended = true;
    const untilMs = Date.now() + lastWordsMs;
    const sleeper = new Int32Array(new SharedArrayBuffer(4));
    for (let bytes of rest) {
      while (bytes.byteLength > 0) {
        bytes = bytes.subarray(this.#tryWrite(bytes));
        if (bytes.byteLength > 0 && Date.now() > untilMs) return;
        if (bytes.byteLength > 0) Atomics.wait(sleeper, 0, 0, 1);
      }
    }
  }

  #schedule(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    process.nextTick(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#outBytes === 0) return;
    const bytes = this.#outBytes;
    this.#outBytes = 0;
    this.#write(this.#out.subarray(0, bytes));
  }

  /** Keeps no reference to `bytes`: what the kernel does not take is copied. */
  #write(bytes: Uint8Array): void {
    if (this.#inFlight) {
      this.#backlog.push(Buffer.from(bytes));
      this.#backlogBytes += bytes.byteLength;
      return;
    }
    const written = this.#tryWrite(bytes);
    if (written < bytes.byteLength && !this.#ended) this.#writeLater(Buffer.from(bytes.subarray(written)));
  }

  #writeLater(bytes: Buffer): void {
    this.#inFlight = bytes;
    this.#socket.write(bytes, () => {
      this.#inFlight = undefined;
      if (this.#ended) return;
      if (this.#backlog.length > 0) {
        const next = Buffer.concat(this.#backlog, this.#backlogBytes);
        this.#backlog = [];
        this.#backlogBytes = 0;
        this.#writeLater(next);
      } else this.#handlers.onDrained();
    });
  }

  /** @returns how many bytes the kernel took: 0 when its buffer is full */
  #tryWrite(bytes: Uint8Array): number {
    try {
      return writeSync(this.#fd, bytes);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EAGAIN' || code === 'EINTR') return 0;
      this.#end(error as Error);
      return bytes.byteLength;
    }
  }

  #end(reason: Error | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#handlers.onEnd(reason);
  }
}

/** The part of `bytes` that libuv has not written. The handle tells; there is no public way to ask. */
function unwritten(socket: Socket, bytes: Buffer): Buffer {
  const handle = (socket as unknown as { _handle: { writeQueueSize: number } | null })._handle;
  return bytes.subarray(bytes.byteLength - (handle?.writeQueueSize ?? 0));
}
