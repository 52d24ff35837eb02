/**
 * Putting right what a fork copied and must not stay: the event loop, randomness, pid, environment, and every way out.
 * Prepared in the zygote, completed in the child after it was sealed and before any code of the user is there.
 */
import { libuv } from '../sys/libc.ts';
import { exitNow, getRandom } from '../sys/syscalls.ts';

/** Gives the child an event loop of its own. First of all: file system calls of libuv may depend on it. */
export function reviveLoop(): void {
  libuv.loopFork(libuv.defaultLoop());
}

export interface Revival {
  /** In the child: what only it can know. @param title what `ps` shows on the host */
  complete(title: string, environment: Readonly<Record<string, string>>, workingDirectory: string): void;
}

/** In the zygote, once: all that is the same for every child, so that a start does not pay for it. */
export function prepareRevival(): Revival {
  const reseed = replaceRandom();
  replaceExits();
  let startedAt = process.hrtime.bigint();
  define(process, 'pid', 1);
  define(process, 'ppid', 0);
  define(process, 'uptime', () => Number(process.hrtime.bigint() - startedAt) / 1e9);
  for (const name of Object.keys(process.env)) delete process.env[name];
  return {
    complete(title, environment, workingDirectory) {
      reseed();
      startedAt = process.hrtime.bigint();
      process.title = title;
      Object.assign(process.env, environment);
      process.chdir(workingDirectory);
      process.umask(0o022);
    },
  };
}

function define(target: object, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: true });
}

/**
 * `Math.random` would continue the zygote's sequence, the same in each child. xoshiro128** (Blackman and Vigna, 2018) takes
 * its place. `randomUUID` and `randomInt` of node:crypto fill their caches at the first call, which a zygote never makes;
 * the kernel tests watch that.
 * @returns seeds it from the kernel; to be called in each child before anything draws from it
 */
function replaceRandom(): () => void {
  let [a, b, c, d] = [0, 0, 0, 1];
  const next32 = (): number => {
    const scrambled = Math.imul(b, 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = (d << 11) | (d >>> 21);
    return result;
  };
  // 53 bits, as the standard's generator gives.
  const random = (): number => (next32() * 0x200000 + (next32() >>> 11)) / 0x20000000000000;
  Object.defineProperty(Math, 'random', { value: random, writable: true, configurable: true, enumerable: false });
  const seed = new Uint32Array(4);
  const seedBytes = new Uint8Array(seed.buffer);
  return () => {
    getRandom(seedBytes);
    [a = 0, b = 0, c = 0, d = 0] = seed;
    // An all-zero state would stay zero for ever.
    if ((a | b | c | d) === 0) d = 1;
  };
}

/**
 * Node's own ways out join platform threads that the fork did not copy, and hang. Every one of them ends in `_exit` here:
 * `process.exit`, the end of the event loop, an uncaught exception or rejection. The agent may handle the last two before.
 */
function replaceExits(): void {
  const leave = (code?: number | string | null): never => exitNow(Number(code ?? process.exitCode ?? 0) & 0xff);
  (process as unknown as { reallyExit: typeof leave }).reallyExit = leave;
  process.on('beforeExit', (code) => {
    // After the other listeners: one of them may have given the loop work again, and the next end of the loop decides.
    process.nextTick(() => {
      if (process.getActiveResourcesInfo().length === 0) process.exit(code);
    });
  });
  const dieOf = (error: unknown): void => {
    // A listener of the user's own takes the place of the default, as it does in Node.
    if (process.listenerCount('uncaughtException') > 1) return;
    process.stderr.write(`Uncaught ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(1);
  };
  process.on('uncaughtException', dieOf);
}
