/** The `context` that a handler gets. Frozen; its expensive parts are made when they are first read. */
import type { AgentSettings } from '../../../services/contracts/agent.ts';
import type { InstanceRequest } from '../../../services/contracts/invocation.ts';
import { headersToObject, queryToObject } from './event.ts';

export interface RequestInfo {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: Record<string, string | string[]>;
  /** Names in lower case; values of a repeated header joined by ", ". */
  readonly headers: Record<string, string>;
}

/**
 * POLICY: the deadline's abort comes this much before the deadline, at which the instance is killed, so that a
 * function can still put things right.
 */
const abortLeadMs = 50;

export class InvocationContext {
  readonly id: string;
  readonly function: string;
  readonly version: number;
  readonly memoryBytes: number;
  /** Epoch milliseconds. */
  readonly deadlineMs: number;
  /** Milliseconds until the deadline, at least 0. */
  readonly remainingTimeMs: () => number;
  /** The same by the name that Lambda functions know. */
  readonly getRemainingTimeInMillis: () => number;
  /** Keeps this invocation's slot in the instance until `promise` is settled; the answer does not wait for it. */
  readonly waitUntil: (promise: unknown) => void;
  readonly #lazy: LazyParts;

  constructor(request: InstanceRequest, settings: AgentSettings, lazy: LazyParts, waitUntil: (p: unknown) => void) {
    this.id = request.id;
    this.function = settings.function;
    this.version = settings.version;
    this.memoryBytes = settings.memoryBytes;
    this.deadlineMs = request.deadlineMs;
    this.remainingTimeMs = this.getRemainingTimeInMillis = () => Math.max(0, request.deadlineMs - Date.now());
    this.waitUntil = waitUntil;
    this.#lazy = lazy;
    Object.freeze(this);
  }

  /** Aborted when the caller goes away, or shortly before the deadline. */
  get signal(): AbortSignal {
    return this.#lazy.signal;
  }

  get request(): RequestInfo {
    return this.#lazy.request;
  }
}

/** What most invocations never ask for. One per invocation, written only by it. */
export class LazyParts {
  readonly #request: InstanceRequest;
  #abort: AbortController | undefined;
  #abortReason: Error | undefined;
  #timer: NodeJS.Timeout | undefined;
  #info: RequestInfo | undefined;

  constructor(request: InstanceRequest) {
    this.#request = request;
  }

  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (this.#abortReason) this.#abort.abort(this.#abortReason);
      else this.#abortBeforeDeadline();
    }
    return this.#abort.signal;
  }

  get request(): RequestInfo {
    this.#info ??= requestInfo(this.#request);
    return this.#info;
  }

  abort(reason: Error): void {
    this.#abortReason ??= reason;
    clearTimeout(this.#timer);
    this.#abort?.abort(this.#abortReason);
  }

  /** The invocation is over: the deadline no longer matters. */
  dispose(): void {
    clearTimeout(this.#timer);
  }

  #abortBeforeDeadline(): void {
    const leftMs = this.#request.deadlineMs - Date.now();
    const waitMs = Math.max(0, leftMs - Math.min(abortLeadMs, leftMs / 10));
    this.#timer = setTimeout(
      () => this.abort(new DOMException('the deadline of the invocation is near', 'TimeoutError')),
      Math.min(waitMs, 2 ** 31 - 1),
    );
    this.#timer.unref();
  }
}

function requestInfo(request: InstanceRequest): RequestInfo {
  const mark = request.path.indexOf('?');
  return Object.freeze({
    method: request.method,
    path: mark < 0 ? request.path : request.path.slice(0, mark),
    query: queryToObject(request.path),
    headers: headersToObject(request.headers),
  });
}
