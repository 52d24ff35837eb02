/**
 * What functions print: `process.stdout` and `process.stderr` as `log` frames of the invocation that printed. A flood
 * is cut, counted and noted: it grows no memory and does not wait.
 */
import { Writable } from 'node:stream';
import { logStreams } from '../../../services/contracts/agent.ts';
import { frameTypes } from '../../../services/contracts/frames.ts';
import type { Channel } from './connection.ts';

/** Above this in the connection's queue, output is dropped. */
const queueLimitBytes = 1024 * 1024;
/** Characters per frame: at most 3 bytes each, so below `maxDataBytes`. */
const pieceLength = 16 * 1024;

/** Whose output it is: an invocation, or the instance itself (stream 0). */
export interface OutputOwner {
  readonly stream: number;
  /** Bytes not sent since the last note. Written by `Output` only. */
  droppedBytes: number;
}

export class Output {
  readonly #channel: Channel;
  readonly #owner: () => OutputOwner;
  readonly #cut = new Set<OutputOwner>();

  /** @param owner whose output it is that is being printed at this moment */
  constructor(channel: Channel, owner: () => OutputOwner) {
    this.#channel = channel;
    this.#owner = owner;
  }

  write(name: keyof typeof logStreams, text: string | Uint8Array, owner = this.#owner()): void {
    for (let at = 0; at < text.length; ) {
      if (this.#channel.queuedBytes > queueLimitBytes) {
        this.#drop(owner, text, at);
        return;
      }
      if (owner.droppedBytes > 0) this.noteDropped(owner);
      const end = pieceEnd(text, at);
      this.#send(name, owner.stream, typeof text === 'string' ? text.slice(at, end) : text.subarray(at, end));
      at = end;
    }
  }

  /** Says how much was dropped, if anything was; before the owner's stream ends, and when there is room again. */
  noteDropped(owner: OutputOwner): void {
    if (owner.droppedBytes === 0) return;
    const note = `… ${owner.droppedBytes} bytes of output dropped\n`;
    owner.droppedBytes = 0;
    this.#cut.delete(owner);
    this.#send('stderr', owner.stream, note);
  }

  onDrained(): void {
    for (const owner of this.#cut) this.noteDropped(owner);
  }

  #drop(owner: OutputOwner, text: string | Uint8Array, from: number): void {
    owner.droppedBytes += typeof text === 'string' ? Buffer.byteLength(text.slice(from)) : text.byteLength - from;
    this.#cut.add(owner);
  }

  #send(name: keyof typeof logStreams, stream: number, text: string | Uint8Array): void {
    const bytes = typeof text === 'string' ? Buffer.byteLength(text) : text.byteLength;
    const payload = Buffer.allocUnsafe(1 + bytes);
    payload[0] = logStreams[name];
    if (typeof text === 'string') payload.write(text, 1);
    else payload.set(text, 1);
    this.#channel.send(frameTypes.log, stream, payload);
  }
}

/** Where the piece that begins at `at` ends: never in the middle of a character. */
function pieceEnd(text: string | Uint8Array, at: number): number {
  let end = at + pieceLength;
  if (end >= text.length) return text.length;
  if (typeof text === 'string') return (text.charCodeAt(end) & 0xfc00) === 0xdc00 ? end + 1 : end;
  // At most three continuation bytes in UTF-8; other bytes are cut anywhere.
  for (let back = 0; back < 3 && ((text[end] as number) & 0xc0) === 0x80; back++) end--;
  return end;
}

/** Replaces `process.stdout` and `process.stderr`, also for `console`. */
export function captureOutput(output: Output): void {
  const lazyConsole = console as unknown as { _stdout: Writable; _stderr: Writable };
  for (const name of ['stdout', 'stderr'] as const) {
    const stream = new OutputStream(name, output);
    Object.defineProperty(process, name, { value: stream, configurable: true, enumerable: true, writable: true });
    // The global console remembers the stream that it first printed to.
    lazyConsole[`_${name}`] = stream;
  }
}

class OutputStream extends Writable {
  readonly fd: number;
  readonly #name: keyof typeof logStreams;
  readonly #output: Output;

  constructor(name: keyof typeof logStreams, output: Output) {
    super({ decodeStrings: false, autoDestroy: false, emitClose: false });
    this.fd = logStreams[name];
    this.#name = name;
    this.#output = output;
  }

  override _write(chunk: string | Buffer, encoding: BufferEncoding, done: () => void): void {
    const utf8 = encoding === 'utf8' || encoding === 'utf-8' || typeof chunk !== 'string';
    this.#output.write(this.#name, utf8 ? chunk : Buffer.from(chunk, encoding));
    done();
  }

  /** As Node's own: standard output is not closed by `end()` or `destroy()`. */
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    done(error);
  }
}
