/**
 * Who the containers belong to. An owner's containers live as long as its session: when the connection ends, they are
 * removed, whether the owner ended it, crashed, or was killed. One writer: this file.
 */
import type { ContainerEnd, Containers } from '../../runtime/index.ts';
import type { SessionEvent, SessionRequest } from '../contracts/daemon-api.ts';
import type { Log } from '../platform/log.ts';

/** How long adopted containers wait for their owner after the daemon's start. */
const claimWithinMs = 5000;

interface Session {
  readonly owner: string;
  readonly send: (event: SessionEvent) => void;
  readonly end: () => void;
}

export class Sessions {
  readonly #containers: Containers;
  readonly #log: Log;
  readonly #byOwner = new Map<string, Session>();
  readonly #claimTimer: NodeJS.Timeout;

  constructor(containers: Containers, log: Log) {
    this.#containers = containers;
    this.#log = log;
    this.#claimTimer = setTimeout(() => this.#removeUnclaimed(), claimWithinMs);
  }

  /**
   * Opens an owner's session, ending an older one of its name without ending its containers: those that `holds` names
   * stay, the others go.
   * @returns what to call when the connection has ended
   */
  async open(request: SessionRequest, connection: Omit<Session, 'owner'>): Promise<() => void> {
    const session: Session = { owner: request.owner, ...connection };
    const older = this.#byOwner.get(request.owner);
    this.#byOwner.set(request.owner, session);
    older?.end();
    const held = new Set(request.holds);
    const removed = this.#containers.ownedBy(request.owner).filter((id) => !held.has(id));
    await this.#remove(removed);
    session.send({ type: 'attached', removed });
    return () => this.#closed(session);
  }

  has(owner: string): boolean {
    return this.#byOwner.has(owner);
  }

  exited(owner: string, exit: ContainerEnd): void {
    this.#byOwner.get(owner)?.send({ type: 'exited', exit });
  }

  close(): void {
    clearTimeout(this.#claimTimer);
    for (const session of this.#byOwner.values()) session.end();
    this.#byOwner.clear();
  }

  #closed(session: Session): void {
    if (this.#byOwner.get(session.owner) !== session) return; // a newer one has taken over
    this.#byOwner.delete(session.owner);
    const owned = this.#containers.ownedBy(session.owner);
    if (owned.length > 0) this.#log.warn({ owner: session.owner, containers: owned.length }, 'owner gone');
    void this.#remove(owned);
  }

  #removeUnclaimed(): void {
    const unclaimed = this.#containers.list().filter(({ owner }) => !this.#byOwner.has(owner));
    if (unclaimed.length > 0)
      this.#log.warn({ containers: unclaimed.length }, 'removing containers that nobody claims');
    void this.#remove(unclaimed.map(({ id }) => id));
  }

  async #remove(ids: readonly string[]): Promise<void> {
    const results = await Promise.allSettled(ids.map((id) => this.#containers.remove(id)));
    for (const result of results)
      if (result.status === 'rejected') this.#log.error({ err: result.reason }, 'removing a container failed');
  }
}
