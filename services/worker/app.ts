/** Puts the parts of a worker together. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { ContainerExit } from '../contracts/daemon-api.ts';
import type { VersionRecord } from '../contracts/function.ts';
import type { RunningService, ServiceContext } from '../platform/lifecycle.ts';
import { UnixHttpClient } from '../platform/unix-http.ts';
import { consume } from './consumer.ts';
import { containerRequest } from './container-request.ts';
import { DaemonClient } from './daemon-client.ts';
import { DaemonSession } from './daemon-session.ts';
import { GatewayLink } from './gateway-link.ts';
import { Instance } from './instance.ts';
import { InstanceListener } from './instance-listener.ts';
import { LogStore } from './log-store.ts';
import { Overrun } from './overrun.ts';
import { type MakeInstance, Pool } from './pool.ts';
import { answerQuery } from './queries.ts';
import { startBoundMs, waitBoundMs } from './start-policy.ts';
import { VersionSource } from './version-source.ts';

/** How long `close` lets invocations finish, and waits for the daemon after that. */
const finishBoundMs = 5000;
const removeBoundMs = 2000;

export interface WorkerOptions extends ServiceContext {
  /** Called once every socket is bound: from here on no privilege is needed. */
  onBound?(): void;
  readonly bounds?: { readonly waitBoundMs: number; readonly startBoundMs: number };
}

/** Where the logs of functions lie; the worker's user owns it. */
export function logFolderOf(home: string): string {
  return join(home, 'logs', 'functions');
}

/** Resolves once instances can connect; Redis, daemon and gateway are waited for in the background. */
export async function startWorker({ config, log, onBound, bounds }: WorkerOptions): Promise<RunningService> {
  const incarnation = randomBytes(4).toString('hex');
  const owner = `worker-${config.node}`;
  const closing = new AbortController();

  const listener = new InstanceListener(config.sockets.instances, log);
  await listener.listen();
  onBound?.();

  const logs = new LogStore(logFolderOf(config.home), log);
  const versions = new VersionSource(config.redis.durable, log);
  const http = new UnixHttpClient(config.sockets.daemon);
  const byId = new Map<string, Instance>();
  const session = new DaemonSession({
    http,
    owner,
    holds: () => [...byId.values()].filter((instance) => instance.connected).map((instance) => instance.id),
    onExited: (exit) => byId.get(exit.id)?.onExited(),
    log,
  });
  const daemon = new DaemonClient(http, session);

  const remove = async (id: string): Promise<ContainerExit | undefined> => {
    try {
      return await daemon.remove(id, closing.signal);
    } catch (error) {
      // The daemon removes it when the session ends or is opened again without it.
      if (!closing.signal.aborted) log.error({ err: error, id }, 'a container could not be removed');
      return undefined;
    }
  };
  const makeInstance: MakeInstance = (record, startedFor, boundMs, instanceOwner) => {
    const id = containerId(record);
    const token = randomBytes(32).toString('hex');
    const request = containerRequest(record, { id, owner, socket: config.sockets.instances, token });
    const instance = new Instance(id, record, startedFor, boundMs, {
      node: config.node,
      owner: instanceOwner,
      logs,
      create: (signal) => daemon.create(request, signal),
      remove: () => remove(id),
    });
    byId.set(id, instance);
    listener.expect(token, instance);
    void instance.ended.promise.then(() => byId.delete(id));
    return instance;
  };
  const { maxInstances, maxStarts, keepAliveMs } = config;
  const pool = new Pool({ maxInstances, maxStarts, keepAliveMs, waitBoundMs, startBoundMs, ...bounds }, makeInstance);
  const queries = { node: config.node, incarnation, pool, versions, logs, log };
  const link = new GatewayLink({
    socketPath: config.sockets.reply,
    node: config.node,
    incarnation,
    session: {
      pool,
      overrun: new Overrun(pool),
      versions,
      answerQuery: (query, answer) => void answerQuery(queries, query, answer),
    },
    consume: (queue, onItems) => consume(config.redis.volatile, queue, onItems, log),
    log,
  });

  versions.start();
  session.start();
  pool.start();
  link.start();

  return {
    ready: { node: config.node, incarnation },
    close: async () => {
      await link.stopConsuming();
      daemon.stopWaiting();
      const removeTimer = setTimeout(() => closing.abort(), finishBoundMs + removeBoundMs);
      await pool.close(finishBoundMs);
      clearTimeout(removeTimer);
      await link.close();
      await session.close();
      await logs.flush();
      await listener.close();
      versions.close();
      http.close();
    },
  };
}

/** Unique, and tells people whose it is. */
function containerId({ function: name, version }: VersionRecord): string {
  return `${name.slice(0, 32)}-${version}-${randomBytes(5).toString('hex')}`;
}
