/** A real redis-server of a test's own, on a unix socket. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

export interface RedisServer {
  readonly path: string;
  start(): Promise<void>;
  /** Kills it; everything it held is gone. */
  kill(): Promise<void>;
  pause(): void;
  resume(): void;
}

export async function startRedis(path: string): Promise<RedisServer> {
  let child: ChildProcess | undefined;
  const server: RedisServer = {
    path,
    start: async () => {
      if (child && child.exitCode === null && child.signalCode === null) return;
      child = spawn('redis-server', ['--port', '0', '--unixsocket', path, '--save', '', '--appendonly', 'no'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
        if (chunk.includes('eady to accept connections')) break;
      }
    },
    kill: async () => {
      if (!child || child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGCONT');
      child.kill('SIGKILL');
      await ended;
    },
    pause: () => child?.kill('SIGSTOP'),
    resume: () => child?.kill('SIGCONT'),
  };
  await server.start();
  return server;
}
