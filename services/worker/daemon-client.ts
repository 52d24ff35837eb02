/** What the worker asks of the node's daemon: containers. A daemon that is away is waited for: it is restarted within seconds. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type ContainerExit,
  type ContainerRequest,
  type ContainerStarted,
  containerExitSchema,
} from '../contracts/daemon-api.ts';
import { StokeError } from '../contracts/errors.ts';
import type { UnixHttpClient } from '../platform/unix-http.ts';

const firstRetryMs = 20;
const longestRetryMs = 500;

/** Resolves when containers may be made: the daemon knows whose they are. */
export interface AttachedSession {
  attached(signal: AbortSignal): Promise<void>;
  /** @throws StokeError `unavailable` when the session ends first */
  startContainer(container: ContainerRequest): Promise<ContainerStarted>;
}

export class DaemonClient {
  readonly #http: UnixHttpClient;
  readonly #session: AttachedSession;
  #patient = true;

  constructor(http: UnixHttpClient, session: AttachedSession) {
    this.#http = http;
    this.#session = session;
  }

  /**
   * Starts a container; again after a restart of the daemon, which ends what was not attached. The signal ends the
   * waiting, never a request under way: once this has settled, the daemon knows the container or never will.
   * @throws StokeError the daemon's; the signal's reason when it aborts first
   */
  async create(request: ContainerRequest, signal: AbortSignal): Promise<ContainerStarted> {
    for (let waitMs = firstRetryMs; ; waitMs = Math.min(waitMs * 2, longestRetryMs)) {
      await this.#session.attached(signal);
      try {
        return await this.#session.startContainer(request);
      } catch (error) {
        signal.throwIfAborted();
        if (!isAway(error)) throw error;
      }
      await sleep(waitMs, undefined, { signal });
    }
  }

  /** At the worker's end: a daemon that is away is not waited for. It removes this worker's containers when it comes back. */
  stopWaiting(): void {
    this.#patient = false;
  }

  /** Ends a container, however long it takes to reach the daemon. @returns undefined when there was no such container */
  async remove(id: string, signal: AbortSignal): Promise<ContainerExit | undefined> {
    for (let waitMs = firstRetryMs; ; waitMs = Math.min(waitMs * 2, longestRetryMs)) {
      try {
        return containerExitSchema.parse(
          await this.#http.json({ method: 'DELETE', path: `/v1/containers/${id}`, signal }),
        );
      } catch (error) {
        if (error instanceof StokeError && error.code === 'container_not_found') return undefined;
        signal.throwIfAborted();
        if (!isAway(error)) throw error;
        if (!this.#patient) return undefined;
      }
      await sleep(waitMs, undefined, { signal });
    }
  }
}

function isAway(error: unknown): boolean {
  return (error instanceof StokeError && error.code === 'unavailable') || isReset(error);
}

/** The connection broke in the middle of an answer's body. */
function isReset(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ECONNRESET';
}
