/**
 * The session that keeps this node's containers alive in the daemon, and tells of those that ended. Opened again, with
 * what is held then, whenever the daemon comes back. One writer: `run`.
 */

import type { ClientRequest } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type ContainerExit,
  type ContainerRequest,
  type ContainerStarted,
  type SessionCommand,
  type SessionEvent,
  type SessionRequest,
  sessionEventSchema,
} from '../contracts/daemon-api.ts';
import { StokeError } from '../contracts/errors.ts';
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
  #outgoing: ClientRequest | undefined;
  readonly #starts = new Map<string, PromiseWithResolvers<ContainerStarted>>();

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

  /**
   * Starts a container. To be called while attached.
   * @throws StokeError the daemon's; `unavailable` when the session ended first: then there is no such container
   */
  startContainer(container: ContainerRequest): Promise<ContainerStarted> {
    if (!this.#outgoing) return Promise.reject(new StokeError('unavailable', 'there is no session with the daemon'));
    const start = Promise.withResolvers<ContainerStarted>();
    this.#starts.set(container.id, start);
    const command: SessionCommand = { type: 'start', container };
    this.#outgoing.write(`${JSON.stringify(command)}\n`);
    return start.promise;
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
    const { http, owner, holds } = this.#options;
    const request: SessionRequest = { owner, holds: holds() };
    const first = `${JSON.stringify(request)}\n`;
    const { signal } = this.#closing;
    const { outgoing, incoming } = await http.duplex({ method: 'POST', path: '/v1/sessions', first, signal });
    this.#outgoing = outgoing;
    for await (const line of createInterface({ input: incoming })) {
      const event = sessionEventSchema.parse(JSON.parse(line));
      if (event.type === 'attached') onAttached();
      this.#on(event);
    }
    outgoing.destroy();
  }

  #on(event: SessionEvent): void {
    switch (event.type) {
      case 'attached':
        if (event.removed.length > 0)
          this.#options.log.info({ removed: event.removed }, 'the daemon removed what nobody held');
        this.#isAttached = true;
        this.#attached.resolve();
        return;
      case 'exited':
        this.#options.onExited(event.exit);
        return;
      case 'started':
        this.#settle(event.started.id)?.resolve(event.started);
        return;
      case 'refused':
        this.#settle(event.id)?.reject(StokeError.from(event.error));
        return;
      default:
        event satisfies never;
    }
  }

  #settle(id: string): PromiseWithResolvers<ContainerStarted> | undefined {
    const start = this.#starts.get(id);
    this.#starts.delete(id);
    return start;
  }

  #detach(): void {
    this.#outgoing = undefined;
    // The daemon removes what it started for a session that has ended.
    for (const id of [...this.#starts.keys()])
      this.#settle(id)?.reject(new StokeError('unavailable', 'the session with the daemon broke off'));
    if (!this.#isAttached) return;
    this.#isAttached = false;
    this.#attached = Promise.withResolvers<void>();
  }
}
