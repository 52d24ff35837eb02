/**
 * The HTTP answer of one call: platform headers, the function's head and body with flow control towards the client, or an
 * error. One writer of the `ServerResponse`.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type ErrorBody, errorCodes } from '../contracts/errors.ts';
import { type AnswerHead, answerHeaders, type Started, type StartKind } from '../contracts/invocation.ts';
import { renderError, retryAfterSeconds } from '../platform/http.ts';
import { epochMs } from './clock.ts';
import { functionAnswerHeaders, serverTiming } from './headers.ts';

/** Credit goes back in pieces of this size, not for every chunk. */
const grantBytes = 64 * 1024;
/** Answers up to this size leave in one write together with their head. */
const singleWriteBytes = 16 * 1024;
/** How long an answered client may go on sending a body that nobody reads. */
const lingerMs = 2000;

export class Answer {
  readonly id: string;
  readonly acceptedAtMs: number;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  #version = '';
  #start: StartKind | undefined;
  #queueMs: number | undefined;
  #startMs: number | undefined;
  #ungrantedBytes = 0;
  #draining = false;
  /** Body bytes still due by the function's `content-length`. */
  #dueBytes: number | undefined;

  constructor(request: IncomingMessage, response: ServerResponse, id: string, acceptedAtMs: number) {
    this.#request = request;
    this.#response = response;
    this.id = id;
    this.acceptedAtMs = acceptedAtMs;
  }

  /** The client is gone, or everything has been said. */
  get over(): boolean {
    return this.#response.destroyed || this.#response.writableEnded;
  }

  get begun(): boolean {
    return this.#response.headersSent;
  }

  /** Calls back once the connection has taken the whole answer, or is gone. */
  onClose(listener: () => void): void {
    this.#response.on('close', listener);
  }

  setVersion(version: string): void {
    this.#version = version;
  }

  setStarted(started: Started): void {
    this.#start = started.start;
    this.#queueMs = started.dequeuedAtMs - this.acceptedAtMs;
    this.#startMs = started.waitMs;
  }

  /**
   * Sends the head, and with `end` the whole answer. `body` is copied.
   * @throws StokeError `protocol_violation`, with nothing sent, when the function's headers cannot go over HTTP
   */
  head(head: AnswerHead, body: Buffer): void {
    if (this.over) return;
    const { list, contentLength } = functionAnswerHeaders(head.headers);
    const length = this.#announcedLength(head, body, contentLength);
    if (length !== undefined) list.push('content-length', String(length));
    this.#pushPlatformHeaders(list, head.handlerMs);
    this.#response.writeHead(head.status, list);
    if (!head.end) {
      this.#dueBytes = this.#bodiless(head.status) ? undefined : length;
      if (body.byteLength > 0) this.#write(body);
      else this.#response.flushHeaders();
    } else if (body.byteLength <= singleWriteBytes) {
      // As a string it shares one buffer and one system call with the head.
      this.#response.end(body.toString('latin1'), 'latin1');
    } else this.#response.end(Buffer.from(body));
  }

  /** @returns the credit to give back now; the rest comes through `onDrained` */
  data(chunk: Buffer, onDrained: (bytes: number) => void): number {
    this.#ungrantedBytes += chunk.byteLength;
    const taken = this.#write(chunk);
    if (!taken && !this.#draining) {
      this.#draining = true;
      this.#response.once('drain', () => {
        this.#draining = false;
        onDrained(this.#takeCredit());
      });
    }
    return this.#draining || this.#ungrantedBytes < grantBytes ? 0 : this.#takeCredit();
  }

  end(): void {
    if (this.#dueBytes !== undefined && this.#dueBytes > 0) this.breakOff();
    else this.#response.end();
  }

  /** The answer cannot be finished: the client must see that it is broken. */
  breakOff(): void {
    this.#response.destroy();
  }

  /** Answers with an error; when part of an answer is out already, breaks it off. */
  fail(error: ErrorBody): void {
    if (this.over) return;
    if (this.begun) {
      this.breakOff();
      return;
    }
    const text = renderError(error);
    const headers = ['content-type', 'application/json; charset=utf-8', 'content-length', `${Buffer.byteLength(text)}`];
    const retryAfter = retryAfterSeconds(error.code);
    if (retryAfter !== undefined) headers.push('retry-after', `${retryAfter}`);
    this.#pushPlatformHeaders(headers, undefined);
    this.#response.writeHead(errorCodes[error.code].status, headers);
    if (this.#request.complete) this.#response.end(text);
    else this.#endAfterRequest(text);
  }

  /** @returns false when the client has to take some before more is sent */
  #write(chunk: Buffer): boolean {
    // A write after the end would be an error event of the response; what ended it has been told by `onClose`.
    if (this.over) return true;
    if (this.#dueBytes !== undefined) {
      this.#dueBytes -= chunk.byteLength;
      if (this.#dueBytes < 0) {
        this.breakOff();
        return true;
      }
    }
    return this.#response.write(Buffer.from(chunk));
  }

  #takeCredit(): number {
    const bytes = this.#ungrantedBytes;
    this.#ungrantedBytes = 0;
    return bytes;
  }

  /** Of a whole answer we know the length; of others the function's word holds, and is checked. */
  #announcedLength(head: AnswerHead, body: Buffer, declared: number | undefined): number | undefined {
    if (this.#bodiless(head.status)) return head.status === 204 ? undefined : declared;
    return head.end ? body.byteLength : declared;
  }

  #bodiless(status: number): boolean {
    return status === 204 || status === 304 || this.#request.method === 'HEAD';
  }

  #pushPlatformHeaders(list: string[], handlerMs: number | undefined): void {
    list.push(answerHeaders.invocation, this.id);
    if (this.#version !== '') list.push(answerHeaders.version, this.#version);
    if (this.#start !== undefined) list.push(answerHeaders.start, this.#start);
    list.push(
      answerHeaders.timing,
      serverTiming({
        queueMs: this.#queueMs,
        startMs: this.#startMs,
        handlerMs,
        totalMs: epochMs() - this.acceptedAtMs,
      }),
    );
  }

  /**
   * Says everything now, but ends the answer only when the rest of the request body has been read and thrown away, or
   * after a moment. An end closes the connection of a client that does not keep it alive; closing over unread bytes
   * resets it, and many clients would then never see the answer.
   */
  #endAfterRequest(text: string): void {
    const request = this.#request;
    this.#response.write(text);
    const timer = setTimeout(() => request.socket.destroy(), lingerMs);
    request.once('close', () => clearTimeout(timer));
    request.once('end', () => this.#response.end());
    request.resume();
  }
}
