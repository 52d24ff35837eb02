/**
 * The body of one request. Small ones are read whole and travel inside the job; larger ones, and those of unknown length,
 * follow on the reply channel as fast as the instance grants, and the client is held back meanwhile.
 */
import type { IncomingMessage } from 'node:http';
import { maxDataBytes } from '../contracts/frames.ts';
import { inlineBodyBytes } from '../contracts/invocation.ts';

export type BodyKind = 'empty' | 'inline' | 'streamed';

/** @returns how the body will travel, by the request's headers alone */
export function bodyKind(request: IncomingMessage): BodyKind {
  if (request.headers['transfer-encoding'] !== undefined) return 'streamed';
  const length = declaredLength(request);
  if (length === 0) return 'empty';
  return length <= inlineBodyBytes ? 'inline' : 'streamed';
}

/** `content-length`, 0 without one. The HTTP parser has checked that it is a number. */
export function declaredLength(request: IncomingMessage): number {
  const length = request.headers['content-length'];
  return length === undefined ? 0 : Number(length);
}

/** Reads an inline body. `onWhole` is not called when the client breaks off. */
export function readInline(request: IncomingMessage, onWhole: (base64: string) => void): void {
  let first: Buffer | undefined;
  let more: Buffer[] | undefined;
  request.on('data', (chunk: Buffer) => {
    if (!first) first = chunk;
    else {
      more ??= [first];
      more.push(chunk);
    }
  });
  request.on('end', () => {
    const whole = more ? Buffer.concat(more) : first;
    onWhole(whole ? whole.toString('base64') : '');
  });
}

export interface UploadTarget {
  data(chunk: Buffer): void;
  end(): void;
  /** More than `maxBytes` came. */
  tooLarge(): void;
}

/** A streamed body on its way. Begins without credit, and nothing is sent before `open`. */
export class Upload {
  readonly #request: IncomingMessage;
  readonly #target: UploadTarget;
  readonly #maxBytes: number;
  #creditBytes = 0;
  #totalBytes = 0;
  #rest: Buffer | undefined;
  #open = false;
  #ended = false;
  #stopped = false;

  constructor(request: IncomingMessage, maxBytes: number, target: UploadTarget) {
    this.#request = request;
    this.#maxBytes = maxBytes;
    this.#target = target;
    // 'readable' leaves the bytes in the socket until they are asked for: that is the back-pressure.
    request.on('readable', () => this.#pump());
    request.on('end', () => {
      this.#ended = true;
      this.#pump();
    });
  }

  /** The function has the head of the request: until then the worker knows of no such stream. */
  open(): void {
    this.#open = true;
    this.#pump();
  }

  grant(bytes: number): void {
    this.#creditBytes += bytes;
    this.#pump();
  }

  /** The invocation is over; what still comes is thrown away. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#rest = undefined;
    this.#request.removeAllListeners('readable');
    this.#request.resume();
  }

  #pump(): void {
    if (!this.#open) return;
    while (!this.#stopped && this.#creditBytes > 0) {
      const chunk = this.#next();
      if (!chunk) break;
      const bytes = Math.min(chunk.byteLength, this.#creditBytes, maxDataBytes);
      this.#creditBytes -= bytes;
      this.#target.data(bytes === chunk.byteLength ? chunk : chunk.subarray(0, bytes));
      if (bytes < chunk.byteLength) this.#rest = chunk.subarray(bytes);
    }
    // The end of a body shows only when its last byte has been read past, and needs no credit.
    if (!this.#stopped && !this.#rest && this.#request.readableLength === 0) this.#request.read();
    if (this.#ended && !this.#rest && !this.#stopped) {
      this.#stopped = true;
      this.#target.end();
    }
  }

  #next(): Buffer | undefined {
    const rest = this.#rest;
    if (rest) {
      this.#rest = undefined;
      return rest;
    }
    const chunk = this.#request.read() as Buffer | null;
    if (!chunk) return undefined;
    this.#totalBytes += chunk.byteLength;
    if (this.#totalBytes <= this.#maxBytes) return chunk;
    this.#target.tooLarge();
    return undefined;
  }
}
