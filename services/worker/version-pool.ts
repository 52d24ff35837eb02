/** The instances of one version and the invocations that wait for one. Bookkeeping only; the node's pool writes it. */
import type { VersionRecord } from '../contracts/function.ts';
import type { Instance } from './instance.ts';
import type { Invocation } from './invocation.ts';
import { failureMemoryMs, type StartDecision, type VersionCounts } from './start-policy.ts';

export class VersionPool {
  readonly key: string;
  readonly record: VersionRecord;
  /** All before gone, the starting ones with them. */
  readonly instances = new Set<Instance>();
  readonly starting = new Set<Instance>();
  /** Least recently used first; the newest is taken first. */
  readonly idle: Instance[] = [];
  /** Busy, with slots left. Only with `concurrency` above 1. */
  readonly open = new Set<Instance>();
  /** Oldest first. */
  readonly waiters: Invocation[] = [];
  waitTimer: NodeJS.Timeout | undefined;
  failedAtMs = Number.NEGATIVE_INFINITY;
  /** What held the last start back. */
  heldBy: StartDecision = 'covered';

  constructor(key: string, record: VersionRecord) {
    this.key = key;
    this.record = record;
  }

  get concurrency(): number {
    return this.record.config.concurrency;
  }

  /** Waiters that starts in flight will serve. */
  get covered(): number {
    return this.starting.size * this.concurrency;
  }

  get empty(): boolean {
    return this.instances.size === 0 && this.waiters.length === 0;
  }

  counts(nowMs: number): VersionCounts {
    return {
      waiters: this.waiters.length,
      starting: this.starting.size,
      instances: this.instances.size,
      concurrency: this.concurrency,
      maxInstances: this.record.config.maxInstances,
      failedLately: nowMs - this.failedAtMs < failureMemoryMs,
    };
  }

  /** POLICY: the fullest instance that has a slot left, else the newest idle one; so that the rest can go idle and end. */
  findFree(): Instance | undefined {
    let best: Instance | undefined;
    for (const instance of this.open) if (!best || instance.running.size > best.running.size) best = instance;
    return best ?? this.idle.at(-1);
  }

  /** After each change of what runs on it. */
  place(instance: Instance): void {
    if (instance.state === 'idle') {
      this.open.delete(instance);
      this.idle.push(instance);
    } else if (instance.state === 'busy' && instance.slotsFree > 0) this.open.add(instance);
    else this.open.delete(instance);
  }

  /** It can no longer be taken. */
  withdraw(instance: Instance): void {
    this.open.delete(instance);
    removeFrom(this.idle, instance);
  }
}

/** @returns whether it was there */
export function removeFrom<T>(list: T[], value: T): boolean {
  // From the end: what is removed is mostly what came last.
  const at = list.lastIndexOf(value);
  if (at < 0) return false;
  list.splice(at, 1);
  return true;
}
