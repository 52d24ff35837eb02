/**
 * The producer side of the nodes' queues in the volatile Redis; the only file of the gateway that knows BullMQ.
 * Requests travel through the queue, answers do not.
 */
import { type JobsOptions, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { batchJobName, type InvocationBatch, maxBatchItems, type QueuedInvocation } from '../contracts/invocation.ts';
import type { Log } from '../platform/log.ts';

export interface QueueEntry {
  readonly item: QueuedInvocation;
  /** Nobody waits for it any more; it is left out. */
  readonly dead: boolean;
  /** Redis is there and refused the job. */
  onRefused(cause: unknown): void;
}

// BullMQ would keep finished jobs for ever. One attempt: whether an invocation is repeated is the gateway's decision.
const jobOptions: JobsOptions = { removeOnComplete: true, removeOnFail: true, attempts: 1 };

/** Adds under way per node. More than one hides the round trip; each further one makes batches smaller. */
const maxAddsInFlight = 2;
/** Bodies (base64) of one batch: a job is parsed in one piece. */
const maxBatchBytes = 1024 * 1024;

/** One node's queue. While adds are under way, later arrivals share the next job. */
export class NodeQueue {
  readonly #name: string;
  readonly #redis: Redis;
  readonly #log: Log;
  #queue: Queue<InvocationBatch>;
  #held: QueueEntry[] = [];
  #adding = 0;

  constructor(name: string, redis: Redis, log: Log) {
    this.#name = name;
    this.#redis = redis;
    this.#log = log;
    this.#queue = this.#open();
  }

  push(entry: QueueEntry): void {
    this.#held.push(entry);
    this.#flush();
  }

  /** Redis came back empty: forgets what it had, and takes everything that still has to be done. */
  restart(entries: Iterable<QueueEntry>): void {
    this.#held = [...entries];
    this.#flush();
  }

  /** The connection stays open; others use it. */
  async close(): Promise<void> {
    this.#held = [];
    await this.#queue.close();
  }

  #flush(): void {
    while (this.#held.length > 0 && this.#adding < maxAddsInFlight && this.#redis.status === 'ready') {
      const entries = takeBatch(this.#held);
      if (entries.length > 0) this.#add(entries);
    }
  }

  #add(entries: QueueEntry[]): void {
    this.#adding++;
    this.#queue.add(batchJobName, { items: entries.map((entry) => entry.item) }, jobOptions).then(
      () => this.#added(),
      (cause: unknown) => {
        this.#added();
        // With the connection gone they are not lost: `restart` has them again when it is back.
        if (this.#redis.status !== 'ready') return;
        for (const entry of entries) entry.onRefused(cause);
        this.#renew();
      },
    );
  }

  #open(): Queue<InvocationBatch> {
    const queue = new Queue<InvocationBatch>(this.#name, { connection: this.#redis, skipVersionCheck: true });
    // The connection reports that it broke; what BullMQ says of it again is for who debugs.
    queue.on('error', (error) => this.#log.debug({ err: error, queue: this.#name }, 'queue error'));
    return queue;
  }

  /** A BullMQ queue whose first steps failed (the connection broke during them) fails for ever. */
  #renew(): void {
    const failed = this.#queue;
    this.#queue = this.#open();
    failed.close().catch((error: unknown) => this.#log.debug({ err: error }, 'closing a queue failed'));
  }

  #added(): void {
    this.#adding--;
    if (this.#held.length > 0) this.#flush();
  }
}

/** Takes the oldest entries that somebody waits for out of `held`. */
function takeBatch(held: QueueEntry[]): QueueEntry[] {
  const batch: QueueEntry[] = [];
  let bytes = 0;
  let taken = 0;
  while (taken < held.length && batch.length < maxBatchItems && bytes < maxBatchBytes) {
    const entry = held[taken++] as QueueEntry;
    if (entry.dead) continue;
    bytes += entry.item.body?.length ?? 0;
    batch.push(entry);
  }
  held.splice(0, taken);
  return batch;
}

const nodeQueues = (node: string) => `stoke:node-queues:${node}`;

/** Deletes the queues that earlier incarnations of a node left, and notes the current one for the next time. */
export async function obliterateEarlier(redis: Redis, node: string, current: string): Promise<void> {
  await redis.sadd(nodeQueues(node), current);
  for (const name of await redis.smembers(nodeQueues(node))) {
    if (name === current) continue;
    const queue = new Queue(name, { connection: redis, skipVersionCheck: true });
    try {
      await queue.obliterate({ force: true });
      await redis.srem(nodeQueues(node), name);
    } finally {
      await queue.close();
    }
  }
}
