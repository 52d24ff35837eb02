/** A running gateway: makes its parts, in the order in which they need each other, and ends them in the other. */
import { randomUUID } from 'node:crypto';
import type { RunningService, ServiceContext } from '../platform/lifecycle.ts';
import { UnixHttpClient } from '../platform/unix-http.ts';
import type { User } from '../platform/user.ts';
import { Admission } from './admission.ts';
import { createApp } from './app.ts';
import { DaemonClient } from './daemon-client.ts';
import { sweepDeploys } from './deploy.ts';
import { Dispatcher } from './dispatcher.ts';
import { FunctionCache } from './function-cache.ts';
import { FunctionStore } from './function-store.ts';
import { openHttpServer } from './http-server.ts';
import { ImageKeeper } from './image-keeper.ts';
import type { ManagementDeps } from './management.ts';
import { NodeQueue, obliterateEarlier } from './producer.ts';
import { answers, connected, connectRedis, watchForSilence } from './redis.ts';
import { openReplyChannel } from './reply-channel.ts';
import { WorkerQueries } from './worker-queries.ts';
import { Workers } from './workers.ts';

/** A Redis that is started at the same time is there within this; without it the gateway starts all the same. */
const connectWithinMs = 3000;

/** @param user whom the workers run as; undefined when that is also who runs this */
export async function startGateway({ config, log }: ServiceContext, user: User | undefined): Promise<RunningService> {
  const startedAtMs = Date.now();
  const durable = connectRedis(config.redis.durable, 'durable', log);
  const subscriber = connectRedis(config.redis.durable, 'changes', log);
  const volatile = connectRedis(config.redis.volatile, 'volatile', log);
  const clients = [durable, subscriber, volatile];
  const endWatch = watchForSilence([durable, volatile]);
  const session = randomUUID();
  const workers = new Workers();
  const dispatcher = new Dispatcher({ workers, redis: volatile });
  const store = new FunctionStore(durable);
  const functions = new FunctionCache(store);
  functions.follow(subscriber);
  const daemonHttp = new UnixHttpClient(config.sockets.daemon);
  const daemon = new DaemonClient(daemonHttp);
  const admission = new Admission();
  const management: ManagementDeps = {
    store,
    daemon,
    images: new ImageKeeper({ store, daemon, log }),
    workers: new WorkerQueries(workers, () => dispatcher.nextStream(), log),
    invalidate: (name) => functions.invalidate(name),
    admission,
    session,
    redis: { durable: () => answers(durable), volatile: () => answers(volatile) },
    log,
  };
  const invoke = { functions, dispatcher, admission, session, maxBodyBytes: config.maxBodyBytes, log };
  const http = await openHttpServer(createApp({ invoke, management }), config.listen);
  const replyChannel = await openReplyChannel({
    socketPath: config.sockets.reply,
    user,
    session,
    workers,
    openQueue: (hello) => {
      obliterateEarlier(volatile, hello.node, hello.queue).catch((error: unknown) =>
        log.warn({ err: error, node: hello.node }, "deleting an earlier worker's queue failed"),
      );
      return new NodeQueue(hello.queue, volatile, log);
    },
    log,
  });
  await connected(clients, connectWithinMs);
  sweepDeploys(management, startedAtMs).catch((error: unknown) =>
    log.warn({ err: error }, 'looking for what unfinished deploys left failed; the next start looks again'),
  );
  return {
    ready: { host: config.listen.host, port: http.port },
    close: async () => {
      await http.close();
      await replyChannel.close();
      dispatcher.close();
      endWatch();
      daemonHttp.close();
      for (const client of clients) client.disconnect();
    },
  };
}
