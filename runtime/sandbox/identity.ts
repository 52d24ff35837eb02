/**
 * Who a container's process is to the kernel: an unprivileged user without capabilities, behind a filter of system calls.
 * Synchronous; the last steps of the forked child, in this order, because each takes away the right to do the one before.
 */
import { rlimit } from '../sys/constants.ts';
import { installSeccomp, setIdentity, setLimit, setNoNewPrivileges } from '../sys/syscalls.ts';

export interface Identity {
  readonly uid: number;
  readonly gid: number;
  /** RLIMIT_NOFILE. */
  readonly openFiles: number;
}

/** What is the same for every container of a zygote, made ahead. */
export interface Walls {
  /** A compiled policy. */
  readonly seccomp: Uint8Array;
}

export function takeIdentity(identity: Identity, walls: Walls): void {
  setLimit(rlimit.CORE, 0);
  setLimit(rlimit.MSGQUEUE, 0);
  setLimit(rlimit.NOFILE, identity.openFiles);
  // Leaving uid 0 in all three ids empties the permitted, effective and ambient sets; the bounding set is empty already,
  // the zygote's was (`sys/capabilities.ts`), so no execve brings one back.
  setIdentity(identity.uid, identity.gid);
  setNoNewPrivileges();
  installSeccomp(walls.seccomp);
}
