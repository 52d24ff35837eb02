/**
 * Control groups made ahead, without limits and without processes: making one takes five directories on v1 and 0.3 ms,
 * giving it limits a tenth of that. One writer: the containers of one daemon.
 */
import { randomBytes } from 'node:crypto';
import { Cgroup } from './cgroup.ts';
import type { CgroupLimits } from './control-files.ts';
import type { CgroupHierarchy } from './hierarchy.ts';

const refillAfterMs = 10;

export class CgroupPool {
  readonly #hierarchy: CgroupHierarchy;
  readonly #target: number;
  readonly #spare: Cgroup[] = [];
  /** A group's name says nothing: which container has it is in the container's record. */
  readonly #prefix = randomBytes(4).toString('hex');
  #made = 0;
  #refill: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(hierarchy: CgroupHierarchy, target: number) {
    this.#hierarchy = hierarchy;
    this.#target = target;
    this.#scheduleRefill();
  }

  /** A group with these limits. Nothing is left of it when this throws. */
  take(limits: CgroupLimits): Cgroup {
    const cgroup = this.#spare.pop() ?? this.#make();
    try {
      cgroup.limit(limits);
    } catch (error) {
      this.giveUp(cgroup);
      throw error;
    }
    this.#scheduleRefill();
    return cgroup;
  }

  /** Removes a group that no process entered; should that fail, the next daemon's reconciliation finds it. */
  giveUp(cgroup: Cgroup): void {
    cgroup.remove().catch(() => undefined);
  }

  /** Whether the pool of this process made it. */
  owns(name: string): boolean {
    return name.startsWith(`${this.#prefix}-`);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#refill);
    await Promise.all(this.#spare.splice(0).map((cgroup) => cgroup.remove()));
  }

  #make(): Cgroup {
    const cgroup = new Cgroup(this.#hierarchy, `${this.#prefix}-${++this.#made}`);
    cgroup.create();
    return cgroup;
  }

  /** One at a time, and not while the container that took one is starting: it needs the processors more. */
  #scheduleRefill(): void {
    if (this.#closed || this.#refill || this.#spare.length >= this.#target) return;
    this.#refill = setTimeout(() => {
      this.#refill = undefined;
      try {
        this.#spare.push(this.#make());
      } catch {
        return; // the next start makes one for itself, meets the same error, and tells it
      }
      this.#scheduleRefill();
    }, refillAfterMs);
  }
}
