/** A gateway with everything around it, for tests: two Redis servers, a fake daemon, functions in the store. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { functionConfigSchema } from '../../../services/contracts/function.ts';
import { FunctionStore } from '../../../services/gateway/function-store.ts';
import { startGateway } from '../../../services/gateway/gateway.ts';
import { parseConfig } from '../../../services/platform/config.ts';
import { createLog } from '../../../services/platform/log.ts';
import { type FakeDaemon, startFakeDaemon } from './fake-daemon.ts';
import { FakeWorker, type FakeWorkerOptions, type Serve } from './fake-worker.ts';
import { type RedisServer, startRedis } from './redis-server.ts';

export interface Platform {
  readonly url: string;
  readonly port: number;
  readonly durable: RedisServer;
  readonly volatile: RedisServer;
  readonly daemon: FakeDaemon;
  readonly store: FunctionStore;
  readonly redis: Redis;
  readonly replySocket: string;
  worker(serve: Serve, options?: Partial<FakeWorkerOptions>): Promise<FakeWorker>;
  /** Puts a function into the store, as a deploy would. */
  addFunction(config: { name: string } & Record<string, unknown>): Promise<void>;
  restartGateway(): Promise<void>;
  close(): Promise<void>;
}

export const someDigest = `sha256:${'a'.repeat(64)}`;

export async function startPlatform(environment: Record<string, string> = {}): Promise<Platform> {
  const folder = await mkdtemp(join(tmpdir(), 'gw-'));
  const durable = await startRedis(join(folder, 'durable.sock'));
  const volatile = await startRedis(join(folder, 'volatile.sock'));
  const daemon = await startFakeDaemon(join(folder, 'daemon.sock'));
  const config = parseConfig({
    STOKE_HOME: folder,
    STOKE_RUN: folder,
    STOKE_LISTEN: '127.0.0.1:0',
    STOKE_REDIS_URL: durable.path,
    STOKE_REDIS_VOLATILE_URL: volatile.path,
    ...environment,
  });
  const start = () =>
    startGateway({ config, log: createLog('gateway', process.env.GATEWAY_LOG ?? 'silent') }, undefined);
  let gateway = await start();
  const redis = new Redis(durable.path, { retryStrategy: () => 20 });
  redis.on('error', () => undefined);
  const store = new FunctionStore(redis);
  const workers: FakeWorker[] = [];
  return {
    get port() {
      return gateway.ready?.port as number;
    },
    get url() {
      return `http://127.0.0.1:${gateway.ready?.port}`;
    },
    durable,
    volatile,
    daemon,
    store,
    redis,
    replySocket: config.sockets.reply,
    worker: async (serve, options = {}) => {
      const worker = await FakeWorker.connect({
        replySocket: config.sockets.reply,
        redis: volatile.path,
        serve,
        ...options,
      });
      workers.push(worker);
      return worker;
    },
    addFunction: (input) => putFunction(store, input),
    restartGateway: async () => {
      await gateway.close();
      gateway = await start();
    },
    close: async () => {
      // BullMQ waits for its Redis before it closes a worker.
      await volatile.start();
      await Promise.all(workers.map((worker) => worker.kill()));
      await gateway.close();
      redis.disconnect();
      await daemon.close();
      await Promise.all([durable.kill(), volatile.kill()]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function putFunction(store: FunctionStore, input: { name: string }): Promise<void> {
  const config = functionConfigSchema.parse(input);
  const content = { image: someDigest, digest: someDigest, entry: 'index.ts', stripped: true };
  await store.publish(
    await store.createVersion({ function: config.name, config, createdAtMs: Date.now(), ...content }),
  );
}

/** Puts a function into the store of a Redis. */
export async function addFunction(redisPath: string, input: { name: string }): Promise<void> {
  const redis = new Redis(redisPath);
  try {
    await putFunction(new FunctionStore(redis), input);
  } finally {
    redis.disconnect();
  }
}
