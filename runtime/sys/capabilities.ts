/** Dropping every capability, from every set. Synchronous; for the forked child. See capabilities(7). */
import { readFileSync } from 'node:fs';
import * as k from './constants.ts';
import { lastErrno, libc } from './libc.ts';
import { SyscallError } from './syscalls.ts';

/** The highest capability that this kernel knows. Read ahead, while /proc is there. */
export function lastCapability(): number {
  return Number(readFileSync('/proc/sys/kernel/cap_last_cap', 'utf8'));
}

/**
 * Empties the bounding set, so that no execve can bring a capability back. Needs CAP_SETPCAP, so it comes before the
 * change of uid; that change then empties the permitted, effective and ambient sets by itself.
 */
export function dropBoundingSet(last: number): void {
  for (let capability = 0; capability <= last; capability++) {
    if (libc.prctl(k.prctl.CAPBSET_DROP, capability, 0, 0, 0) < 0)
      throw new SyscallError('prctl', `PR_CAPBSET_DROP ${capability}`, lastErrno());
  }
}
