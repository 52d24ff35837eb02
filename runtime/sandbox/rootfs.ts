/** Walking a mount plan, and making the result the root. Synchronous; in the forked child, in its own mount namespace. */
import { mkdirSync } from 'node:fs';
import { MNT_DETACH } from '../sys/constants.ts';
import { chdir, mount, pivotRoot, umount } from '../sys/syscalls.ts';
import type { PlanStep } from './mount-plan.ts';

/** @throws SyscallError that names the mount that failed */
export function buildRootfs(plan: readonly PlanStep[]): void {
  for (const step of plan) {
    if (step.do === 'mkdir') mkdirSync(step.path, { mode: 0o755 });
    else mount(step.source, step.target, step.type, step.flags, step.data);
  }
}

/** Makes `path` (a mount point) the root of the calling process and lets go of everything outside of it. */
export function enterRootfs(path: string): void {
  chdir(path);
  pivotRoot('.', '.');
  // Both roots are stacked on `/` now, the old one on top; the working directory is the new one.
  umount('.', MNT_DETACH);
  chdir('/');
}
