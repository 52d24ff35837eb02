/**
 * What a function's container may ask of the kernel. Pure data; `seccomp.ts` compiles it.
 *
 * POLICY: an allow-list. Left out on purpose, although Docker's default has some of them: everything that makes or enters
 * namespaces or mounts (mount, unshare, setns, clone with namespace flags, the new mount API), looks into other processes
 * (ptrace, process_vm_*, kcmp, pidfd_getfd), enlarges the kernel's attack surface (io_uring, userfaultfd, bpf,
 * perf_event_open, keyctl, legacy aio, modify_ldt), or changes the machine (clocks, modules, reboot, swap, quotas).
 */
import type { SyscallName } from './syscall-numbers.ts';

export type SyscallAction = 'allow' | 'EPERM' | 'ENOSYS' | 'kill';

/** Allowed when one argument's low 32 bits pass a test. */
export type ArgumentTest =
  | { readonly argument: number; readonly oneOf: readonly number[] }
  | { readonly argument: number; readonly noneOf: readonly number[] }
  | { readonly argument: number; readonly clearBits: number };

export interface SeccompPolicy {
  readonly allow: readonly SyscallName[];
  readonly allowIf: readonly { readonly syscall: SyscallName; readonly test: ArgumentTest }[];
  /** Answered "no such call", so that libraries take their older way. */
  readonly pretendMissing: readonly SyscallName[];
}

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const namespaceFlags = 0x7e020000;
const families = { unix: 1, inet: 2, inet6: 10, netlink: 16 };
/** Pushing input into a terminal that someone else reads. */
const terminalInjection = { TIOCSTI: 0x5412, TIOCLINUX: 0x541c };

export const functionPolicy: SeccompPolicy = {
  // biome-ignore format: a word list
  allow: `
    accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget chdir chmod chown clock_adjtime
    clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit
    exit_group faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl
    fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex
    futex_requeue futex_wait futex_waitv futex_wake futimesat get_robust_list getcpu getcwd getdents getdents64
    getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom
    getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getxattr
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioprio_get ioprio_set kill landlock_add_rule
    landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat listen listxattr llistxattr
    lremovexattr lseek lsetxattr lstat madvise map_shadow_stack membarrier memfd_create mincore mkdir mkdirat mknod
    mknodat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend
    mq_unlink mremap msgctl msgget msgrcv msgsnd msync munlock munlockall munmap nanosleep newfstatat open openat
    openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl
    pread64 preadv preadv2 prlimit64 pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv
    recvfrom recvmmsg recvmsg remap_file_pages removexattr rename renameat renameat2 restart_syscall rmdir rseq
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto set_robust_list
    set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid
    setreuid setrlimit setsid setsockopt setuid setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd
    signalfd4 socketpair splice stat statfs statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill
    time timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime
    timerfd_settime times tkill truncate umask uname unlink unlinkat utime utimensat utimes vfork vmsplice wait4
    waitid write writev
  `.trim().split(/\s+/) as SyscallName[],
  allowIf: [
    { syscall: 'socket', test: { argument: 0, oneOf: Object.values(families) } },
    { syscall: 'clone', test: { argument: 0, clearBits: namespaceFlags } },
    { syscall: 'ioctl', test: { argument: 1, noneOf: Object.values(terminalInjection) } },
  ],
  // Its flags lie in memory, where a filter cannot look.
  pretendMissing: ['clone3'],
};
