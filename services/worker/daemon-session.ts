/**
 * The session that keeps this node's containers alive in the daemon, and tells of those that ended. Opened again, with
 * what is held then, whenever the daemon comes back. One writer: `run`.
 */
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ContainerExit, type SessionRequest, sessionEventSchema } from '../contracts/daemon-api.ts';
import type { Log } from '../platform/log.ts';
import type { UnixHttpClient } from '../platform/unix-http.ts';
import type { AttachedSession } from './daemon-client.ts';

const firstRetryMs = 20;
const longestRetryMs = 500;

export interface DaemonSessionOptions {
  http: UnixHttpClient;
  owner: string;
  /** Ids with a live control connection. */
  holds(): string[];
  onExited(exit: ContainerExit): void;
  log: Log;
}

export class DaemonSession implements AttachedSession {
  readonly #options: DaemonSessionOptions;
  readonly #closing = new AbortController();
  #attached = Promise.withResolvers<void>();
  #isAttached = false;
  #running: Promise<void> | undefined;

  constructor(options: DaemonSessionOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async attached(signal: AbortSignal): Promise<void> {
    if (this.#isAttached) return;
    signal.throwIfAborted();
    const aborted = Promise.withResolvers<never>();
    const onAbort = () => aborted.reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await Promise.race([this.#attached.promise, aborted.promise]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Ends the session: the daemon removes what is left. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    let waitMs = firstRetryMs;
    let told = false;
    while (!signal.aborted) {
      try {
        await this.#open(() => {
          waitMs = firstRetryMs;
          told = false;
        });
        if (!signal.aborted) this.#options.log.warn('the daemon ended the session');
      } catch (error) {
        if (!told && !signal.aborted) this.#options.log.warn({ err: error }, 'no session with the daemon; retrying');
        told = true;
      }
      this.#detach();
      // Ended by close(): the loop's condition sees it.
      await sleep(waitMs, undefined, { signal }).catch(() => undefined);
      waitMs = Math.min(waitMs * 2, longestRetryMs);
    }
  }

  async #open(onAttached: () => void): Promise<void> {
    const { http, owner, holds, onExited, log } = this.#options;
    const request: SessionRequest = { owner, holds: holds() };
    const response = await http.stream({
      method: 'POST',
      path: '/v1/sessions',
      json: request,
      signal: this.#closing.signal,
    });
    for await (const line of createInterface({ input: response })) {
      const event = sessionEventSchema.parse(JSON.parse(line));
      if (event.type === 'exited') {
        onExited(event.exit);
        continue;
      }
      if (event.removed.length > 0) log.info({ removed: event.removed }, 'the daemon removed what nobody held');
      this.#isAttached = true;
      this.#attached.resolve();
      onAttached();
    }
  }

  #detach(): void {
    if (!this.#isAttached) return;
    this.#isAttached = false;
    this.#attached = Promise.withResolvers<void>();
  }
}
