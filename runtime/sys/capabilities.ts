/** The bounding set of capabilities: what an execve could bring back. Synchronous; for the zygote. See capabilities(7). */
import { readFileSync } from 'node:fs';
import * as k from './constants.ts';
import { lastErrno, libc } from './libc.ts';
import { SyscallError } from './syscalls.ts';

/** The highest capability that this kernel knows. */
export function lastCapability(): number {
  return Number(readFileSync('/proc/sys/kernel/cap_last_cap', 'utf8'));
}

/**
 * Empties the bounding set of the caller and of all that it forks from now on. It keeps the capabilities that it has; a
 * child that then leaves uid 0 has none, and none to gain. Needs CAP_SETPCAP.
 */
export function dropBoundingSet(last: number): void {
  for (let capability = 0; capability <= last; capability++) {
    if (libc.prctl(k.prctl.CAPBSET_DROP, capability, 0, 0, 0) < 0)
      throw new SyscallError('prctl', `PR_CAPBSET_DROP ${capability}`, lastErrno());
  }
}
