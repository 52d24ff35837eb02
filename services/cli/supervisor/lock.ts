/**
 * One supervisor per installation. The lock is an abstract unix socket: the kernel frees it when its holder dies, and
 * who connects to it is told the holder's pid. One name stands for the home, one for the run folder, as neither may be shared.
 */
import { createHash } from 'node:crypto';
import { connect, createServer, type Server } from 'node:net';
import type { Config } from '../../platform/config.ts';

export interface Lock {
  release(): Promise<void>;
}

/** Another process has it. */
export class LockedError extends Error {
  override name = 'LockedError';
  /** Undefined when the holder does not say. */
  readonly pid: number | undefined;
  readonly path: string;

  constructor(path: string, pid: number | undefined) {
    super(`${path} is in use by process ${pid ?? '(unknown)'}`);
    this.path = path;
    this.pid = pid;
  }
}

/** @throws LockedError */
export async function acquireLock(config: Pick<Config, 'home' | 'run' | 'installation'>): Promise<Lock> {
  const home = await hold(homeLockName(config), config.home);
  try {
    const run = createHash('sha256').update(config.run).digest('hex').slice(0, 8);
    const both = [home, await hold(`\0stoke-run-${run}`, config.run)];
    return {
      release: async () => {
        await Promise.all(both.map(close));
      },
    };
  } catch (error) {
    await close(home);
    throw error;
  }
}

/** @returns the pid of the supervisor that has the home, or undefined when none has */
export function lockHolder(config: Pick<Config, 'installation'>): Promise<number | undefined> {
  return readHolder(homeLockName(config));
}

function homeLockName({ installation }: Pick<Config, 'installation'>): string {
  return `\0stoke-${installation}`;
}

function hold(name: string, path: string): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy()).end(`${process.pid}\n`);
  });
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') return reject(error);
      readHolder(name).then((pid) => reject(new LockedError(path, pid)), reject);
    });
    server.listen({ path: name }, () => resolve(server));
  });
}

function readHolder(name: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect({ path: name });
    // A holder that is stopped by a debugger, say, must not hold us too.
    socket.setTimeout(1000, () => socket.destroy());
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      text += chunk;
    });
    // Nobody there, or gone in the middle: `close` follows, and what was read decides.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => resolve(/^\d+\n$/.test(text) ? Number(text) : undefined));
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
