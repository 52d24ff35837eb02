/** A worker between a fake gateway and a fake daemon, on a Redis of its own; everything in a folder that goes with it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { functionConfigSchema, functionKeys, type VersionRecord } from '../../../services/contracts/function.ts';
import type { LogEntry } from '../../../services/contracts/invocation.ts';
import { parseConfig } from '../../../services/platform/config.ts';
import type { RunningService } from '../../../services/platform/lifecycle.ts';
import { createLog } from '../../../services/platform/log.ts';
import { startWorker, type WorkerOptions } from '../../../services/worker/app.ts';
import { FakeDaemon } from './fake-daemon.ts';
import { FakeGateway } from './fake-gateway.ts';

export interface Harness {
  readonly folder: string;
  readonly redis: Redis;
  readonly daemon: FakeDaemon;
  readonly gateway: FakeGateway;
  readonly worker: RunningService;
  /** Writes a version's record. `settings` are those of `fn.json`. */
  deploy(name: string, settings?: Record<string, unknown>, version?: number): Promise<VersionRecord>;
  logs(name: string, invocation?: string): Promise<LogEntry[]>;
  /** As a crash: it comes back empty. */
  restartRedis(): Promise<void>;
  close(): Promise<void>;
}

export interface HarnessOptions {
  environment?: Record<string, string>;
  bounds?: WorkerOptions['bounds'];
}

export async function startHarness(options: HarnessOptions = {}): Promise<Harness> {
  const folder = mkdtempSync(join(tmpdir(), 'stoke-worker-'));
  let redisServer = await startRedis(folder);
  const redisPath = join(folder, 'redis.sock');
  const config = parseConfig({
    STOKE_HOME: join(folder, 'home'),
    STOKE_RUN: folder,
    STOKE_NODE: 'test',
    STOKE_REDIS_URL: redisPath,
    STOKE_REDIS_VOLATILE_URL: redisPath,
    ...options.environment,
  });
  const redis = new Redis(redisPath);
  const daemon = new FakeDaemon(config.sockets.daemon);
  const gateway = new FakeGateway(config.sockets.reply, redisPath);
  await Promise.all([daemon.listen(), gateway.listen()]);
  const log = createLog('worker', process.env.STOKE_LOG_LEVEL ?? 'fatal');
  const worker = await startWorker({ config, log, ...(options.bounds ? { bounds: options.bounds } : {}) });
  await gateway.greeted;

  const harness: Harness = {
    folder,
    redis,
    daemon,
    gateway,
    worker,
    deploy: async (name, settings = {}, version = 1) => {
      const record = versionRecord(name, settings, version);
      await redis.set(functionKeys.version(name, version), JSON.stringify(record));
      return record;
    },
    logs: async (name, invocation) => {
      const query = { op: 'logs', function: name, follow: false, ...(invocation ? { invocation } : {}) } as const;
      const reply = gateway.ask(query);
      gateway.grant(reply, 64 * 1024 * 1024);
      const { text } = await reply.done;
      return text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as LogEntry);
    },
    restartRedis: async () => {
      redisServer.kill('SIGKILL');
      await once(redisServer, 'exit');
      redisServer = await startRedis(folder);
    },
    close: async () => {
      await worker.close();
      await gateway.close();
      await daemon.crash();
      redis.disconnect();
      redisServer.kill('SIGKILL');
      await once(redisServer, 'exit');
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return harness;
}

export function versionRecord(name: string, settings: Record<string, unknown> = {}, version = 1): VersionRecord {
  const hex = (Buffer.from(name).toString('hex') + version).padEnd(64, '0').slice(0, 64);
  return {
    function: name,
    version,
    image: `sha256:${'a'.repeat(64)}`,
    digest: `sha256:${hex}`,
    entry: 'index.js',
    stripped: true,
    config: functionConfigSchema.parse({ name, ...settings }),
    createdAtMs: Date.now(),
  };
}

/** Looks again every few milliseconds, up to a bound: for what nothing announces. */
export async function eventually(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const untilMs = performance.now() + 3000;
  while (!(await condition())) {
    if (performance.now() > untilMs) throw new Error(`not within 3 s: ${what}`);
    await sleep(5);
  }
}

async function startRedis(folder: string): Promise<ChildProcess> {
  const path = join(folder, 'redis.sock');
  const args = ['--port', '0', '--unixsocket', path, '--save', '', '--appendonly', 'no', '--dir', folder];
  const child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
    said += chunk.toString();
    if (said.includes('eady to accept connections')) break;
  }
  return child;
}
