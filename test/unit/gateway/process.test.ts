import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FakeWorker } from './fake-worker.ts';
import { addFunction } from './platform.ts';
import { type RedisServer, startRedis } from './redis-server.ts';

const asRoot = process.getuid?.() === 0;

let folder: string;
let redis: RedisServer;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gw-'));
  await chmod(folder, 0o755);
  redis = await startRedis(join(folder, 'redis.sock'));
  await chmod(redis.path, 0o777);
  await addFunction(redis.path, { name: 'hello' });
});
afterAll(async () => {
  await redis.kill();
  await rm(folder, { recursive: true, force: true });
});

interface Line {
  level: number;
  msg: string;
  port?: number;
}

/** A gateway process and its log, as far as `until` says. */
async function spawnGateway(listen: string, until: (line: Line) => boolean) {
  const child = spawn(process.execPath, ['services/gateway/main.ts'], {
    env: {
      PATH: process.env.PATH,
      STOKE_HOME: folder,
      STOKE_RUN: folder,
      STOKE_LISTEN: listen,
      STOKE_USER: 'nobody',
      STOKE_REDIS_URL: redis.path,
      STOKE_REDIS_VOLATILE_URL: redis.path,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  let text = '';
  const found = Promise.withResolvers<Line>();
  child.stderr.on('data', (chunk: Buffer) => {
    text += chunk;
    for (const line of text.split('\n').slice(0, -1).map(parseLine)) if (until(line)) found.resolve(line);
  });
  exited.then(() => found.reject(new Error(`the gateway ended: ${text}`)));
  return { child, exited, line: await found.promise };
}

function parseLine(text: string): Line {
  return JSON.parse(text) as Line;
}

async function end(child: ChildProcess, exited: Promise<number | null>) {
  child.kill('SIGTERM');
  return exited;
}

describe('the gateway process', () => {
  it('ends with 1 and names the address when the port is taken', async () => {
    const first = await spawnGateway('127.0.0.1:0', (line) => line.msg === 'ready');
    const address = `127.0.0.1:${first.line.port}`;
    try {
      const second = await spawnGateway(address, (line) => line.level === 60);
      expect(second.line.msg).toContain(`cannot listen on ${address}: another process listens there`);
      expect(await second.exited).toBe(1);
    } finally {
      expect(await end(first.child, first.exited)).toBe(0);
    }
  });

  it('lets calls under way finish when it is told to end, and takes no new ones', async () => {
    const gateway = await spawnGateway('127.0.0.1:0', (line) => line.msg === 'ready');
    const url = `http://127.0.0.1:${gateway.line.port}/fn/hello`;
    const taken = Promise.withResolvers<() => void>();
    const worker = await FakeWorker.connect({
      replySocket: join(folder, 'reply.sock'),
      redis: redis.path,
      serve: (call) => {
        call.started();
        taken.resolve(() => call.head({}, 'finished'));
      },
    });
    const response = fetch(url);
    const finish = await taken.promise;
    const began = performance.now();
    gateway.child.kill('SIGTERM');
    await expect.poll(() => fetch(url).catch((error: Error) => error.message)).toBe('fetch failed');
    finish();
    expect(await (await response).text()).toBe('finished');
    expect(await gateway.exited).toBe(0);
    // The connection of the answered call is kept alive by the client; the gateway does not wait for it.
    expect(performance.now() - began).toBeLessThan(4000);
    await worker.kill();
  });

  it.skipIf(!asRoot)('runs as the unprivileged user, whose group may open the reply channel (needs root)', async () => {
    const gateway = await spawnGateway('127.0.0.1:0', (line) => line.msg === 'ready');
    const status = readFileSync(`/proc/${gateway.child.pid}/status`, 'utf8');
    expect(status).toMatch(/^Uid:\t65534\t65534\t65534\t65534$/m);
    expect(status).toMatch(/^CapEff:\t0+$/m);
    const socket = statSync(join(folder, 'reply.sock'));
    expect(socket.mode & 0o777).toBe(0o660);
    expect(socket.gid).toBe(Number(/^Gid:\t(\d+)/m.exec(status)?.[1]));
    expect(await end(gateway.child, gateway.exited)).toBe(0);
  });
});
