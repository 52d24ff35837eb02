/**
 * What becomes of an invocation at its deadline, and of one that nobody waits for any more. The only place that ends an
 * instance because of an invocation.
 */
import { frameTypes } from '../contracts/frames.ts';
import type { Instance } from './instance.ts';
import { epochMs, type Invocation } from './invocation.ts';
import type { Pool } from './pool.ts';

/** How long a cancelled invocation has to stop. */
const cancelGraceMs = 1000;
/** How long one among several has to stop after its deadline. */
const deadlineGraceMs = 100;
const longestTimeoutMs = 2 ** 31 - 1;

export class Overrun {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** One timer per invocation, from its arrival. */
  watch(invocation: Invocation): void {
    const leftMs = Math.min(longestTimeoutMs, Math.max(0, invocation.item.deadlineMs - epochMs()));
    invocation.timer = setTimeout(onDeadline, leftMs, this, invocation);
  }

  /** Nobody waits for its answer. */
  cancel(invocation: Invocation): void {
    if (invocation.phase === 'waiting') this.#pool.withdraw(invocation);
    const running = invocation.phase === 'running';
    invocation.abandon();
    if (!running) return;
    sendCancel(invocation);
    const leftMs = Math.max(0, Math.min(cancelGraceMs, invocation.item.deadlineMs - epochMs()));
    this.#expect(invocation, leftMs, 'cancelled');
  }

  deadline(invocation: Invocation): void {
    const { timeoutMs } = invocation;
    const stage = invocation.phase === 'waiting' ? this.#pool.withdraw(invocation) : 'handler';
    const instance = invocation.host as Instance | undefined;
    const details = { stage, timeoutMs };
    invocation.fail({ code: 'deadline_exceeded', message: `no answer within ${timeoutMs / 1000} s`, details });
    if (!instance) return;
    if (instance.record.config.concurrency === 1) return instance.end({ kind: 'deadline' });
    sendCancel(invocation);
    this.#expect(invocation, deadlineGraceMs, 'deadline');
  }

  /** Gives it a last time to give its slot back. */
  #expect(invocation: Invocation, graceMs: number, kind: 'cancelled' | 'deadline'): void {
    clearTimeout(invocation.timer);
    invocation.timer = setTimeout(() => this.#giveUp(invocation, kind), graceMs);
  }

  #giveUp(invocation: Invocation, kind: 'cancelled' | 'deadline'): void {
    const instance = invocation.host as Instance | undefined;
    if (!instance) return;
    if (instance.record.config.concurrency === 1) return instance.end({ kind });
    this.#pool.retire(instance);
    instance.checkAlive();
    instance.abandon(invocation.hostStream);
  }
}

function sendCancel(invocation: Invocation): void {
  invocation.cancelled = true;
  invocation.host?.send(frameTypes.cancel, invocation.hostStream);
}

function onDeadline(overrun: Overrun, invocation: Invocation): void {
  overrun.deadline(invocation);
}
