/** The consumer side of a node's queue in the volatile Redis; the only file of the worker that knows BullMQ. */
import { Worker } from 'bullmq';
import { Redis } from 'ioredis';
import type { InvocationBatch, QueuedInvocation } from '../contracts/invocation.ts';
import type { Log } from '../platform/log.ts';
import type { QueueConsumer } from './gateway-link.ts';

const concurrency = 64;
/** A job is done within the turn that it arrives in; its lock is never renewed and never awaited. */
const lockDurationMs = 24 * 60 * 60 * 1000;
/** How long the end waits for a Redis that does not answer. */
const closeBoundMs = 1000;

/** Takes jobs until it is closed. A Redis that goes away is waited for. */
export function consume(
  address: string,
  queue: string,
  onItems: (items: readonly QueuedInvocation[]) => void,
  log: Log,
): QueueConsumer {
  // No automatic pipelining: it slows BullMQ workers.
  const redis = new Redis(address, {
    connectionName: 'stoke-worker-volatile',
    maxRetriesPerRequest: null,
    retryStrategy: (times) => Math.min(20 * times, 250),
  });
  const worker = new Worker<InvocationBatch>(
    queue,
    async (job) => {
      // The outcome travels on the reply channel: for the queue the job is done when its items are handed over.
      onItems(job.data.items);
    },
    {
      connection: redis,
      concurrency,
      // A job that was taken by a worker that died is not repeated by the queue: whether it is, is the gateway's decision.
      maxStalledCount: 0,
      skipStalledCheck: true,
      skipLockRenewal: true,
      lockDuration: lockDurationMs,
      removeOnComplete: { count: 0 },
      removeOnFail: { count: 0 },
      skipVersionCheck: true,
    },
  );
  reportOutages(worker, redis, log);
  return { close: () => close(worker, redis, log) };
}

/** One line per outage, not one per retry. */
function reportOutages(worker: Worker, redis: Redis, log: Log): void {
  let away = false;
  const onError = (error: Error) => {
    if (!away) log.warn({ err: error }, 'volatile redis is away');
    away = true;
  };
  redis.on('error', onError);
  worker.on('error', onError);
  redis.on('ready', () => {
    if (away) log.info('volatile redis is back');
    away = false;
  });
}

async function close(worker: Worker, redis: Redis, log: Log): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const bound = new Promise((resolve) => {
    timer = setTimeout(resolve, closeBoundMs);
  });
  const closed = worker.close().catch((error: unknown) => log.debug({ err: error }, 'closing the queue failed'));
  await Promise.race([closed, bound]);
  clearTimeout(timer);
  redis.disconnect();
}
