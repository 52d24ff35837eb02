/**
 * All instances of the node, and who gets which. The only writer of the version pools. Taking, reaping and evicting are
 * each decided in one turn of the event loop, so a call never meets an instance that is being ended.
 */
import { type ErrorBody, StokeError } from '../contracts/errors.ts';
import { type VersionRecord, versionKey } from '../contracts/function.ts';
import type { Instance, InstanceOwner } from './instance.ts';
import type { EndCause } from './instance-end.ts';
import { epochMs, type Invocation } from './invocation.ts';
import { decideStart, type StartDecision } from './start-policy.ts';
import { removeFrom, VersionPool } from './version-pool.ts';

/** A start is cut short this much after the deadline of the invocation it was made for: the deadline speaks first. */
const deadlineSlackMs = 50;

export interface PoolLimits {
  readonly maxInstances: number;
  readonly maxStarts: number;
  readonly keepAliveMs: number;
  /** Longest wait without a start under way, longest start. */
  readonly waitBoundMs: number;
  readonly startBoundMs: number;
}

/** Makes an instance known to whoever has to know it. Nothing is started yet. */
export type MakeInstance = (
  record: VersionRecord,
  startedFor: Invocation | undefined,
  startBoundMs: number,
  owner: InstanceOwner,
) => Instance;

const closingError: ErrorBody = { code: 'unavailable', message: 'the worker is closing' };

export class Pool implements InstanceOwner {
  readonly #limits: PoolLimits;
  readonly #makeInstance: MakeInstance;
  readonly #versions = new Map<string, VersionPool>();
  readonly #poolOf = new Map<Instance, VersionPool>();
  /** Those with waiters. */
  readonly #queued = new Set<VersionPool>();
  readonly #removals = new Set<Promise<void>>();
  readonly #watchers = new Map<Instance, PromiseWithResolvers<Instance>>();
  #starting = 0;
  #reaper: NodeJS.Timeout | undefined;
  #closing = false;

  constructor(limits: PoolLimits, makeInstance: MakeInstance) {
    this.#limits = limits;
    this.#makeInstance = makeInstance;
  }

  /** Begins to end instances that are idle for too long. */
  start(): void {
    const everyMs = Math.min(10_000, Math.max(20, this.#limits.keepAliveMs / 10));
    this.#reaper = setInterval(() => this.#reap(), everyMs);
    this.#reaper.unref();
  }

  get maxInstances(): number {
    return this.#limits.maxInstances;
  }

  instances(): Iterable<Instance> {
    return this.#poolOf.keys();
  }

  get waiting(): number {
    let waiting = 0;
    for (const pool of this.#queued) waiting += pool.waiters.length;
    return waiting;
  }

  /** Gives the invocation an instance now, or as soon as one is free. */
  acquire(invocation: Invocation, record: VersionRecord): void {
    if (this.#closing) {
      invocation.fail(closingError);
      return;
    }
    const pool = this.#pool(record);
    const instance = pool.waiters.length === 0 ? pool.findFree() : undefined;
    if (instance) {
      this.#give(pool, instance, invocation);
      return;
    }
    pool.waiters.push(invocation);
    this.#queue(pool);
  }

  /** Takes a waiting invocation out. @returns the stage that it was in */
  withdraw(invocation: Invocation): 'queue' | 'start' {
    const { function: name, version } = invocation.item;
    const pool = this.#versions.get(versionKey(name, version));
    if (!pool) return 'queue';
    removeFrom(pool.waiters, invocation);
    if (pool.waiters.length === 0) this.#queued.delete(pool);
    return pool.starting.size > 0 ? 'start' : 'queue';
  }

  /**
   * Starts an instance that nobody waits for.
   * @throws StokeError what the start failed of, or what held it back
   */
  async startOne(record: VersionRecord): Promise<Instance> {
    if (this.#closing) throw StokeError.from(closingError);
    const pool = this.#pool(record);
    const decision = this.#decide(pool, pool.waiters.length + pool.covered + 1);
    if (decision === 'evict') this.#evict();
    else if (decision !== 'start') throw StokeError.from(heldError(decision, pool));
    const watcher = Promise.withResolvers<Instance>();
    this.#watchers.set(this.#start(pool, undefined), watcher);
    return watcher.promise;
  }

  /** Lets go of a function's instances: idle ones end, busy ones after their invocations. */
  retireFunction(name: string, below = Number.POSITIVE_INFINITY): void {
    for (const pool of [...this.#versions.values()]) {
      if (pool.record.function === name && pool.record.version < below) this.#retirePool(pool);
    }
  }

  /** It gets nothing new and ends when it is done. */
  retire(instance: Instance): void {
    this.#poolOf.get(instance)?.withdraw(instance);
    instance.retire();
  }

  /** Ends it unless it was taken meanwhile. */
  endIfIdle(instance: Instance, cause: EndCause): void {
    if (instance.state !== 'idle') return;
    this.#forget(instance);
    instance.end(cause);
  }

  /** Lets what runs finish within the bound, ends everything, waits until all containers are gone. */
  async close(boundMs: number): Promise<void> {
    this.#closing = true;
    clearInterval(this.#reaper);
    for (const pool of this.#queued) {
      clearTimeout(pool.waitTimer);
      for (const invocation of pool.waiters.splice(0)) invocation.fail(closingError);
    }
    const instances = [...this.#poolOf.keys()];
    for (const instance of instances) {
      if (instance.state === 'busy') this.retire(instance);
      else if (instance.state !== 'retiring') instance.end({ kind: 'closing' });
    }
    const timer = setTimeout(() => {
      for (const instance of instances) instance.end({ kind: 'closing' });
    }, boundMs);
    await Promise.all([...instances.map((instance) => instance.ended.promise), ...this.#removals]);
    clearTimeout(timer);
  }

  onReady(instance: Instance): void {
    const pool = this.#startOver(instance);
    if (!pool) return;
    pool.failedAtMs = Number.NEGATIVE_INFINITY;
    if (instance.state === 'idle') this.#offer(pool, instance, 'cold');
    this.#watchers.get(instance)?.resolve(instance);
    this.#watchers.delete(instance);
    this.#fillAll();
  }

  onFreed(instance: Instance): void {
    const pool = this.#poolOf.get(instance);
    if (!pool) return;
    this.#offer(pool, instance, 'warm');
    // Idle now, it may have to make room for a version that waits for any place on the node.
    if (this.#queued.size > 0) this.#fillAll();
  }

  onUnusable(instance: Instance): void {
    this.retire(instance);
  }

  onGone(instance: Instance): void {
    if (this.#forget(instance)) this.#fillAll();
  }

  onStartFailed(instance: Instance, error: ErrorBody, cause: EndCause): void {
    const pool = this.#startOver(instance);
    this.#forget(instance);
    this.#watchers.get(instance)?.reject(StokeError.from(error));
    this.#watchers.delete(instance);
    if (!pool) return;
    pool.failedAtMs = performance.now();
    const cutShort = cause.kind === 'start_timeout' && instance.startBoundMs < this.#limits.startBoundMs;
    this.#answerFailedStart(pool, instance, error, cutShort);
    this.#fillAll();
  }

  onReturned(instance: Instance, invocation: Invocation): void {
    const pool = this.#poolOf.get(instance);
    if (!pool || this.#closing) {
      invocation.fail(closingError);
      return;
    }
    pool.withdraw(instance);
    const other = pool.findFree();
    if (other) {
      this.#give(pool, other, invocation);
      return;
    }
    // It is older than all that wait.
    pool.waiters.unshift(invocation);
    this.#queue(pool);
  }

  /** One failed start answers one waiter: the one it was made for, else the oldest. The others try again. */
  #answerFailedStart(pool: VersionPool, { startedFor }: Instance, error: ErrorBody, cutShort: boolean): void {
    if (startedFor && removeFrom(pool.waiters, startedFor)) startedFor.fail(error);
    // Cut short for one invocation's deadline, it says nothing to the others.
    else if (!cutShort) pool.waiters.shift()?.fail(error);
  }

  /** Free slots go to the oldest waiters; what is left is kept. */
  #offer(pool: VersionPool, instance: Instance, start: 'cold' | 'warm'): void {
    while (instance.slotsFree > 0) {
      const waiter = pool.waiters.shift();
      if (!waiter) break;
      instance.run(waiter, start);
    }
    if (pool.waiters.length === 0) this.#queued.delete(pool);
    pool.place(instance);
  }

  #give(pool: VersionPool, instance: Instance, invocation: Invocation): void {
    if (instance.state === 'idle') pool.idle.pop();
    instance.run(invocation, 'warm');
    if (pool.concurrency > 1) pool.place(instance);
  }

  #queue(pool: VersionPool): void {
    this.#queued.add(pool);
    this.#fill(pool);
    this.#watchWait(pool);
  }

  #fillAll(): void {
    for (const pool of [...this.#queued]) this.#fill(pool);
  }

  /** Starts as many instances as the waiters want and the limits allow. */
  #fill(pool: VersionPool): void {
    for (;;) {
      pool.heldBy = this.#decide(pool, pool.waiters.length);
      if (pool.heldBy === 'evict') this.#evict();
      else if (pool.heldBy !== 'start') return;
      this.#start(pool, pool.waiters[pool.covered]);
    }
  }

  #decide(pool: VersionPool, waiters: number): StartDecision {
    const { maxInstances, maxStarts } = this.#limits;
    const instances = this.#poolOf.size;
    const idle = instances < maxInstances ? 0 : this.#leastRecentlyUsed() ? 1 : 0;
    const node = { starting: this.#starting, instances, maxStarts, maxInstances, idle };
    return decideStart({ ...pool.counts(performance.now()), waiters }, node);
  }

  #start(pool: VersionPool, startedFor: Invocation | undefined): Instance {
    const left = startedFor ? startedFor.item.deadlineMs - epochMs() + deadlineSlackMs : Number.POSITIVE_INFINITY;
    const boundMs = Math.max(1, Math.min(this.#limits.startBoundMs, left));
    const instance = this.#makeInstance(pool.record, startedFor, boundMs, this);
    this.#poolOf.set(instance, pool);
    pool.instances.add(instance);
    pool.starting.add(instance);
    this.#starting++;
    instance.start();
    return instance;
  }

  #startOver(instance: Instance): VersionPool | undefined {
    const pool = this.#poolOf.get(instance);
    if (pool?.starting.delete(instance)) this.#starting--;
    return pool;
  }

  #evict(): void {
    const instance = this.#leastRecentlyUsed();
    if (instance) this.endIfIdle(instance, { kind: 'evicted' });
  }

  #leastRecentlyUsed(): Instance | undefined {
    let oldest: Instance | undefined;
    for (const { idle } of this.#versions.values()) {
      const first = idle[0];
      if (first && (!oldest || first.idleSinceMs < oldest.idleSinceMs)) oldest = first;
    }
    return oldest;
  }

  #reap(): void {
    const since = performance.now() - this.#limits.keepAliveMs;
    for (const pool of [...this.#versions.values()]) {
      for (let first = pool.idle[0]; first && first.idleSinceMs <= since; first = pool.idle[0])
        this.endIfIdle(first, { kind: 'idle' });
      if (pool.empty) this.#versions.delete(pool.key);
    }
  }

  #retirePool(pool: VersionPool): void {
    // A later deploy may use the same version number for other content: its pool is a new one. Those who wait already
    // still get what they came for.
    if (pool.waiters.length > 0) {
      for (const instance of [...pool.instances]) if (!pool.starting.has(instance)) this.retire(instance);
      this.#fill(pool);
      return;
    }
    this.#versions.delete(pool.key);
    for (const instance of [...pool.instances]) this.retire(instance);
  }

  /** @returns whether it was known */
  #forget(instance: Instance): boolean {
    const pool = this.#startOver(instance);
    if (!pool) return false;
    pool.withdraw(instance);
    pool.instances.delete(instance);
    this.#poolOf.delete(instance);
    const removal = instance.ended.promise;
    this.#removals.add(removal);
    void removal.then(() => this.#removals.delete(removal));
    return true;
  }

  #pool(record: VersionRecord): VersionPool {
    const key = versionKey(record.function, record.version);
    const known = this.#versions.get(key);
    if (known && (known.record === record || known.record.digest === record.digest)) return known;
    if (known) this.#retirePool(known);
    const pool = new VersionPool(key, record);
    this.#versions.set(key, pool);
    return pool;
  }

  #watchWait(pool: VersionPool): void {
    if (pool.waitTimer || pool.waiters.length === 0) return;
    const oldest = pool.waiters[pool.covered] ?? pool.waiters[0];
    const leftMs = (oldest?.dequeuedAtMs ?? 0) + this.#limits.waitBoundMs - epochMs();
    pool.waitTimer = setTimeout(() => this.#endLongWaits(pool), Math.max(10, leftMs));
  }

  /** Whoever has a start under way waits for its outcome; the others have waited long enough. */
  #endLongWaits(pool: VersionPool): void {
    pool.waitTimer = undefined;
    const since = epochMs() - this.#limits.waitBoundMs;
    for (const waiter of pool.waiters.slice(pool.covered)) {
      if (waiter.dequeuedAtMs > since) break;
      removeFrom(pool.waiters, waiter);
      waiter.fail(heldError(pool.heldBy, pool));
    }
    if (pool.waiters.length === 0) this.#queued.delete(pool);
    this.#watchWait(pool);
  }
}

function heldError(heldBy: StartDecision, { record }: VersionPool): ErrorBody {
  const { maxInstances } = record.config;
  if (heldBy === 'function_limit') {
    const message = `all ${maxInstances} instances of "${record.function}" are busy; its maxInstances allows no more`;
    return { code: 'concurrency_exceeded', message, details: { maxInstances } };
  }
  return { code: 'no_capacity', message: 'this node has no place for another instance now' };
}
