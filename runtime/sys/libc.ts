/**
 * The C library as declared functions: the only import of koffi. Nothing here decides anything; `syscalls.ts` gives the
 * calls their meaning and turns failures into errors.
 */
import koffi from 'koffi';

const library = koffi.load(null);

const sockFprog = koffi.struct('stoke_sock_fprog', { len: 'uint16_t', filter: 'void *' });

export const libc = {
  mount: library.func('int mount(str source, str target, str type, uint64_t flags, str data)'),
  umount2: library.func('int umount2(str target, int flags)'),
  unshare: library.func('int unshare(int flags)'),
  setns: library.func('int setns(int fd, int type)'),
  sethostname: library.func('int sethostname(str name, size_t length)'),
  chdir: library.func('int chdir(str path)'),
  open: library.func('int open(str path, int flags, int mode)'),
  close: library.func('int close(int fd)'),
  dup3: library.func('int dup3(int from, int to, int flags)'),
  fcntl: library.func('int fcntl(int fd, int command, long argument)'),
  write: library.func('long write(int fd, void *buffer, size_t length)'),
  socket: library.func('int socket(int domain, int type, int protocol)'),
  connect: library.func('int connect(int fd, void *address, uint32_t length)'),
  ioctl: library.func('int ioctl(int fd, unsigned long request, void *argument)'),
  mknod: library.func('int mknod(str path, uint32_t mode, uint64_t device)'),
  setxattr: library.func('int setxattr(str path, str name, void *value, size_t size, int flags)'),
  syncfs: library.func('int syncfs(int fd)'),
  getrandom: library.func('long getrandom(void *buffer, size_t length, uint32_t flags)'),
  kill: library.func('int kill(int pid, int signal)'),
  signal: library.func('void *signal(int signal, intptr_t handler)'),
  waitid: library.func('int waitid(int type, uint32_t id, void *info, int options)'),
  prlimit: library.func('int prlimit(int pid, int resource, void *limit, void *old)'),
  umask: library.func('uint32_t umask(uint32_t mask)'),
  execve: library.func('int execve(str path, str *arguments, str *environment)'),
  _exit: library.func('void _exit(int status)'),
  prctl: library.func('int prctl(int option, uint64_t a, uint64_t b, uint64_t c, uint64_t d)'),
  prctlPointer: library.func('prctl', 'int', ['int', 'void *', 'uint64_t', 'uint64_t', 'uint64_t']),
  prctlFilter: library.func('prctl', 'int', ['int', 'uint64_t', koffi.pointer(sockFprog), 'uint64_t', 'uint64_t']),
  /** Calls that the C library would turn into something for all threads, or does not have. */
  syscall: library.func('syscall', 'long', ['long', 'long', 'long', 'long', 'long', 'long']),
  syscallPointer: library.func('syscall', 'long', ['long', 'void *', 'long', 'long', 'long', 'long']),
  syscallStrings: library.func('syscall', 'long', ['long', 'str', 'str', 'long', 'long', 'long']),
} as const;

/** Exported by the node binary: makes the event loop of a forked child its own. */
export const libuv = {
  loopFork: library.func('int uv_loop_fork(void *loop)'),
  defaultLoop: library.func('void *uv_default_loop()'),
} as const;

/** The calling thread's errno, of the last call that failed. */
export function lastErrno(): number {
  return koffi.errno();
}
