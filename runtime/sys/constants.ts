/** Numbers from the kernel's uapi headers, by the names they have there. Data only. */

/** Namespaces, for clone3, unshare and setns; and how clone3 makes its child. */
export const clone = {
  NEWNS: 0x00020000,
  NEWCGROUP: 0x02000000,
  NEWUTS: 0x04000000,
  NEWIPC: 0x08000000,
  NEWUSER: 0x10000000,
  NEWPID: 0x20000000,
  NEWNET: 0x40000000,
  PARENT: 0x00008000,
  CHILD_CLEARTID: 0x00200000,
  CHILD_SETTID: 0x01000000,
  /** Bit 33: only clone3 takes it. */
  INTO_CGROUP: 0x200000000n,
} as const;

export const mountFlags = {
  RDONLY: 0x1,
  NOSUID: 0x2,
  NODEV: 0x4,
  NOEXEC: 0x8,
  REMOUNT: 0x20,
  BIND: 0x1000,
  MOVE: 0x2000,
  REC: 0x4000,
  PRIVATE: 0x40000,
  SLAVE: 0x80000,
} as const;

export const MNT_DETACH = 2;

export const prctl = {
  SET_PDEATHSIG: 1,
  SET_DUMPABLE: 4,
  SET_SECCOMP: 22,
  CAPBSET_DROP: 24,
  SET_NO_NEW_PRIVS: 38,
  GET_TID_ADDRESS: 40,
} as const;

export const SECCOMP_MODE_FILTER = 2;

export const openFlags = { RDONLY: 0, WRONLY: 1, RDWR: 2, DIRECTORY: 0o200000, CLOEXEC: 0o2000000 } as const;
export const fcntl = { GETFD: 1, SETFD: 2, FD_CLOEXEC: 1 } as const;
export const CLOSE_RANGE_CLOEXEC = 4;

export const socket = { AF_UNIX: 1, AF_INET: 2, STREAM: 1, DGRAM: 2, CLOEXEC: 0o2000000, NONBLOCK: 0o4000 } as const;
export const ioctl = { SIOCGIFFLAGS: 0x8913, SIOCSIFFLAGS: 0x8914, FIONREAD: 0x541b, IFF_UP: 0x1 } as const;

export const rlimit = { CORE: 4, NOFILE: 7, MSGQUEUE: 12 } as const;

export const wait = { P_ALL: 0, P_PID: 1, WNOHANG: 1, WEXITED: 4, WNOWAIT: 0x01000000, __WALL: 0x40000000 } as const;

export const signals = { SIGHUP: 1, SIGKILL: 9, SIGPIPE: 13, SIGTERM: 15, SIGCHLD: 17, SIGXFSZ: 25 } as const;
export const SIG_DFL = 0n;

/** Errors that the runtime decides on; `errnoName` has the others. */
export const errno = { ENOENT: 2, ESRCH: 3, EINTR: 4, EIO: 5, EBUSY: 16, EINVAL: 22, ECHILD: 10 } as const;

/** Magic of statfs(2) for a cgroup v2 mount. */
export const CGROUP2_SUPER_MAGIC = 0x63677270;
