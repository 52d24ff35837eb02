/**
 * System calls as the runtime uses them: typed arguments, a `SyscallError` that names call, subject and errno on failure.
 * All synchronous. Calls that change the calling process (namespaces, identity, filters) are for the zygote and its
 * children only: an ordinary Node process has threads that would be left behind.
 */
import { getSystemErrorName } from 'node:util';
import * as k from './constants.ts';
import { lastErrno, libc } from './libc.ts';
import { type SyscallName, syscallNumbers } from './syscall-numbers.ts';

export const architecture = process.arch === 'arm64' ? 'arm64' : 'x64';

export class SyscallError extends Error {
  readonly call: string;
  readonly errno: number;
  /** For example `ENOENT`. */
  readonly code: string;

  constructor(call: string, subject: string, errno: number) {
    const code = errnoName(errno);
    super(`${call}${subject === '' ? '' : ` ${subject}`}: ${code}`);
    this.name = 'SyscallError';
    this.call = call;
    this.errno = errno;
    this.code = code;
  }
}

function errnoName(errno: number): string {
  try {
    return getSystemErrorName(-errno);
  } catch {
    // The number has no name in libuv's table; the number itself is then the best there is.
    return `errno ${errno}`;
  }
}

function check(result: number, call: string, subject: string): number {
  if (result < 0) throw new SyscallError(call, subject, lastErrno());
  return result;
}

function number(name: SyscallName): number {
  const found = syscallNumbers[name][architecture === 'x64' ? 0 : 1];
  if (found === null) throw new Error(`${name} does not exist on ${architecture}`);
  return found;
}

/** @param type null for binds and changes of propagation */
export function mount(source: string, target: string, type: string | null, flags: number, data: string | null): void {
  check(libc.mount(source, target, type, flags, data), 'mount', `${type ?? source} on ${target}`);
}

export function umount(target: string, flags = 0): void {
  check(libc.umount2(target, flags), 'umount2', target);
}

/** Both paths may be `.`: the old root is then stacked on the new one, to be unmounted from there (pivot_root(2)). */
export function pivotRoot(newRoot: string, putOld: string): void {
  check(libc.syscallStrings(number('pivot_root'), newRoot, putOld, 0, 0, 0), 'pivot_root', newRoot);
}

export function unshare(flags: number): void {
  check(libc.unshare(flags), 'unshare', `0x${flags.toString(16)}`);
}

export function setns(fd: number, type: number): void {
  check(libc.setns(fd, type), 'setns', `0x${type.toString(16)}`);
}

export interface CloneOptions {
  /** `CLONE_*` below bit 32. */
  readonly flags: number;
  /** Directory of a cgroup v2 that the child is born in. */
  readonly cgroupFd?: number;
}

/**
 * clone3(2) without sharing memory: a fork that starts in its own namespaces. The child of `CLONE_PARENT` is the child of
 * the caller's parent. The C library does not notice: its thread list and fork handlers are those of the parent, which is
 * sound as long as no other thread of the caller holds a lock (true of a zygote: it is idle but for this thread).
 * @returns the child's pid in the caller, 0 in the child
 */
export function clone3(options: CloneOptions): number {
  const args = new BigUint64Array(11);
  let flags = BigInt(options.flags | k.clone.CHILD_SETTID | k.clone.CHILD_CLEARTID);
  if (options.cgroupFd !== undefined) {
    flags |= k.clone.INTO_CGROUP;
    args[10] = BigInt(options.cgroupFd);
  }
  args[0] = flags;
  // The C library keeps the thread's id where the kernel clears it at exit; the child's has to be written there.
  args[2] = threadIdAddress();
  args[4] = options.flags & k.clone.PARENT ? 0n : BigInt(k.signals.SIGCHLD);
  return check(libc.syscallPointer(number('clone3'), args, 88, 0, 0, 0), 'clone3', '');
}

function threadIdAddress(): bigint {
  const address = new BigUint64Array(1);
  check(libc.prctlPointer(k.prctl.GET_TID_ADDRESS, address, 0, 0, 0), 'prctl', 'PR_GET_TID_ADDRESS');
  return address[0] as bigint;
}

export function setHostname(name: string): void {
  check(libc.sethostname(name, Buffer.byteLength(name)), 'sethostname', name);
}

export function chdir(path: string): void {
  check(libc.chdir(path), 'chdir', path);
}

export function open(path: string, flags: number): number {
  return check(libc.open(path, flags | k.openFlags.CLOEXEC, 0), 'open', path);
}

export function close(fd: number): void {
  check(libc.close(fd), 'close', String(fd));
}

/** `to` then refers to what `from` does and is inherited by execve. */
export function dup(from: number, to: number): void {
  check(libc.dup3(from, to, 0), 'dup3', `${from} to ${to}`);
}

export function setCloseOnExec(fd: number, on: boolean): void {
  check(libc.fcntl(fd, k.fcntl.SETFD, on ? k.fcntl.FD_CLOEXEC : 0), 'fcntl', String(fd));
}

/** Closes every fd from `first` to `last`, both included; or with CLOSE_RANGE_CLOEXEC has execve close them. */
export function closeRange(first: number, last: number, flags = 0): void {
  check(libc.syscall(number('close_range'), first, last, flags, 0, 0), 'close_range', `${first} to ${last}`);
}

/** Writes all of it to a blocking fd. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.byteLength; ) {
    const written = libc.write(fd, bytes.subarray(done), bytes.byteLength - done);
    if (written < 0 && lastErrno() === k.errno.EINTR) continue;
    done += check(written, 'write', String(fd));
  }
}

/** Bytes that a read of the pipe would get now. */
export function pendingBytes(fd: number): number {
  const count = Buffer.alloc(4);
  check(libc.ioctl(fd, k.ioctl.FIONREAD, count), 'ioctl FIONREAD', String(fd));
  return count.readInt32LE(0);
}

/** Connects a blocking unix stream socket. @returns its fd */
export function connectUnix(path: string): number {
  const fd = check(libc.socket(k.socket.AF_UNIX, k.socket.STREAM | k.socket.CLOEXEC, 0), 'socket', 'unix');
  const address = Buffer.alloc(110);
  address.writeUInt16LE(k.socket.AF_UNIX, 0);
  address.write(path, 2);
  check(libc.connect(fd, address, 3 + Buffer.byteLength(path)), 'connect', path);
  return fd;
}

/** Brings a link of the calling process's network namespace up. */
export function setLinkUp(name: string): void {
  const fd = check(libc.socket(k.socket.AF_INET, k.socket.DGRAM | k.socket.CLOEXEC, 0), 'socket', 'inet');
  // struct ifreq: 16 bytes of name, then flags
  const request = Buffer.alloc(40);
  request.write(name, 0);
  check(libc.ioctl(fd, k.ioctl.SIOCGIFFLAGS, request), 'ioctl SIOCGIFFLAGS', name);
  request.writeUInt16LE(request.readUInt16LE(16) | k.ioctl.IFF_UP, 16);
  check(libc.ioctl(fd, k.ioctl.SIOCSIFFLAGS, request), 'ioctl SIOCSIFFLAGS', name);
  close(fd);
}

/** @param mode type and permissions, for example `S_IFCHR | 0o666` */
export function mknod(path: string, mode: number, major: number, minor: number): void {
  const device = (BigInt(major) << 8n) | BigInt(minor & 0xff);
  check(libc.mknod(path, mode, device), 'mknod', path);
}

export function setXattr(path: string, name: string, value: Uint8Array): void {
  check(libc.setxattr(path, name, value, value.byteLength, 0), 'setxattr', `${name} of ${path}`);
}

/** Writes everything of the file system that `path` lies on to disk, without holding up the process. */
export async function syncFileSystem(path: string): Promise<void> {
  const fd = open(path, k.openFlags.RDONLY);
  try {
    const result = await new Promise<number>((resolve, reject) => {
      libc.syncfs.async(fd, (error: Error | null, value: number) => (error ? reject(error) : resolve(value)));
    });
    // The errno is that of another thread, gone by now.
    if (result !== 0) throw new SyscallError('syncfs', path, k.errno.EIO);
  } finally {
    close(fd);
  }
}

/** @returns false when there is no such process */
export function kill(pid: number, signal: number): boolean {
  if (libc.kill(pid, signal) === 0) return true;
  if (lastErrno() === k.errno.ESRCH) return false;
  throw new SyscallError('kill', String(pid), lastErrno());
}

export interface ChildExit {
  readonly pid: number;
  /** Exit status, or null when a signal ended it. */
  readonly code: number | null;
  readonly signal: number | null;
}

/**
 * Reaps the child `pid` if it has ended.
 * @returns how it ended, `running`, or `none` when it is not (or no longer) a child of this process
 */
export function reap(pid: number): ChildExit | 'running' | 'none' {
  // siginfo_t: si_signo @0, si_code @8, si_pid @16, si_status @24 (LP64)
  const info = Buffer.alloc(128);
  const options = k.wait.WEXITED | k.wait.WNOHANG | k.wait.__WALL;
  if (libc.waitid(k.wait.P_PID, pid, info, options) < 0) {
    if (lastErrno() === k.errno.ECHILD) return 'none';
    throw new SyscallError('waitid', String(pid), lastErrno());
  }
  if (info.readInt32LE(16) === 0) return 'running';
  const CLD_EXITED = 1;
  const status = info.readInt32LE(24);
  const exited = info.readInt32LE(8) === CLD_EXITED;
  return { pid, code: exited ? status : null, signal: exited ? null : status };
}

export function setNoNewPrivileges(): void {
  check(libc.prctl(k.prctl.SET_NO_NEW_PRIVS, 1, 0, 0, 0), 'prctl', 'PR_SET_NO_NEW_PRIVS');
}

/** Needs no_new_privs or CAP_SYS_ADMIN. Cannot be undone. */
export function installSeccomp(filter: Uint8Array): void {
  const program = { len: filter.byteLength / 8, filter };
  check(libc.prctlFilter(k.prctl.SET_SECCOMP, k.SECCOMP_MODE_FILTER, program, 0, 0), 'prctl', 'PR_SET_SECCOMP');
}

/** Lowers (never raises) a limit of the calling process, both soft and hard. */
export function setLimit(resource: number, value: number): void {
  const limit = new BigUint64Array([BigInt(value), BigInt(value)]);
  check(libc.prlimit(0, resource, limit, null), 'prlimit', String(resource));
}

/** Real, effective and saved ids, and no supplementary group; of the calling thread alone, which must be the only one. */
export function setIdentity(uid: number, gid: number): void {
  check(libc.syscall(number('setgroups'), 0, 0, 0, 0, 0), 'setgroups', '');
  check(libc.syscall(number('setresgid'), gid, gid, gid, 0, 0), 'setresgid', String(gid));
  check(libc.syscall(number('setresuid'), uid, uid, uid, 0, 0), 'setresuid', String(uid));
}

/** Replaces the process. Returns only by throwing. */
export function execve(path: string, args: readonly string[], environment: Readonly<Record<string, string>>): never {
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  libc.execve(path, [...args, null], [...variables, null]);
  throw new SyscallError('execve', path, lastErrno());
}

/** Fills `bytes` (at most 256) from the kernel's generator, which no fork copies. */
export function getRandom(bytes: Uint8Array): void {
  check(libc.getrandom(bytes, bytes.byteLength, 0), 'getrandom', '');
}

/** Ends the process at once, without exit handlers: the only way out of a forked Node that does not hang. */
export function exitNow(status: number): never {
  libc._exit(status);
  throw new Error('_exit returned');
}
