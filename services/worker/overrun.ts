/**
 * What becomes of an invocation at its deadline, and of one that nobody waits for any more. The only place that gives up
 * on a running one.
 */
import { frameTypes } from '../contracts/frames.ts';
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
    expectEnd(invocation, leftMs, 'cancelled');
  }

  deadline(invocation: Invocation): void {
    const { timeoutMs } = invocation;
    const stage = invocation.phase === 'waiting' ? this.#pool.withdraw(invocation) : 'handler';
    const { host } = invocation;
    const details = { stage, timeoutMs };
    invocation.fail({ code: 'deadline_exceeded', message: `no answer within ${timeoutMs / 1000} s`, details });
    if (!host) return;
    if (host.solitary) {
      host.giveUp(invocation.hostStream, 'deadline');
      return;
    }
    sendCancel(invocation);
    expectEnd(invocation, deadlineGraceMs, 'deadline');
  }
}

/** Gives it a last time to give its slot back. */
function expectEnd(invocation: Invocation, graceMs: number, kind: 'cancelled' | 'deadline'): void {
  clearTimeout(invocation.timer);
  invocation.timer = setTimeout(() => invocation.host?.giveUp(invocation.hostStream, kind), graceMs);
}

function sendCancel(invocation: Invocation): void {
  invocation.cancelled = true;
  invocation.host?.send(frameTypes.cancel, invocation.hostStream);
}

function onDeadline(overrun: Overrun, invocation: Invocation): void {
  overrun.deadline(invocation);
}
