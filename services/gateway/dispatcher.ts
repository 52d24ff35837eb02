/**
 * Brings invocations to workers, and again to others when a worker or the volatile Redis went away before they had
 * started. One writer of who waits for a worker.
 */
import type { Redis } from 'ioredis';
import { StokeError } from '../contracts/errors.ts';
import { epochMs } from './clock.ts';
import { chooseWorker } from './placement.ts';
import type { QueuedSink, WorkerLink } from './worker-link.ts';
import type { Workers } from './workers.ts';

/** A supervised worker is back well within this. */
const waitForWorkerMs = 5000;
const waitForRedisMs = 3000;
const sweepEveryMs = 100;

export interface Placeable extends QueuedSink {
  assign(worker: WorkerLink, stream: number): void;
}

export interface DispatcherOptions {
  workers: Workers;
  /** The volatile Redis. */
  redis: Redis;
  waits?: { forWorkerMs: number; forRedisMs: number };
}

export class Dispatcher {
  readonly #workers: Workers;
  readonly #waits: { forWorkerMs: number; forRedisMs: number };
  /** Invocations without a worker, and since when (epoch ms). */
  readonly #homeless = new Map<Placeable, number>();
  #lastStream = 0;
  #redisAwaySinceMs: number | undefined;
  #sweep: NodeJS.Timeout | undefined;

  constructor(options: DispatcherOptions) {
    this.#workers = options.workers;
    this.#waits = options.waits ?? { forWorkerMs: waitForWorkerMs, forRedisMs: waitForRedisMs };
    options.workers.listen({ onUp: () => this.#placeHomeless() });
    options.redis.on('ready', () => this.#onRedisBack());
    options.redis.on('close', () => this.#onRedisAway());
    if (options.redis.status !== 'ready') this.#onRedisAway();
  }

  place(invocation: Placeable): void {
    const worker = chooseWorker(this.#workers.list(), Math.random);
    if (!worker) {
      this.#homeless.set(invocation, epochMs());
      this.#sweepWhileNeeded();
      return;
    }
    // Placed again: if this is the worker of before with a new connection, its queue may still hold the earlier item.
    if (invocation.item.stream !== 0) worker.cancel(invocation.item.stream);
    const stream = this.nextStream();
    invocation.assign(worker, stream);
    worker.enqueue(stream, invocation);
  }

  /** It needs no worker any more. */
  drop(invocation: Placeable): void {
    this.#homeless.delete(invocation);
  }

  /** What keeps every invocation from starting now, if anything. */
  obstacle(): StokeError | undefined {
    if (this.#workers.list().length === 0) return noWorker();
    if (this.#redisAwaySinceMs !== undefined) return redisAway();
    return undefined;
  }

  /** Never 0, which is the connection itself; wraps after four billion, long after the earliest are forgotten. */
  nextStream(): number {
    this.#lastStream = this.#lastStream >= 0xffff_ffff ? 1 : this.#lastStream + 1;
    return this.#lastStream;
  }

  close(): void {
    clearInterval(this.#sweep);
  }

  #placeHomeless(): void {
    const waiting = [...this.#homeless.keys()];
    this.#homeless.clear();
    for (const invocation of waiting) this.place(invocation);
  }

  #onRedisAway(): void {
    this.#redisAwaySinceMs ??= epochMs();
    this.#sweepWhileNeeded();
  }

  #onRedisBack(): void {
    this.#redisAwaySinceMs = undefined;
    for (const worker of this.#workers.list()) worker.enqueueAgain();
  }

  #sweepWhileNeeded(): void {
    this.#sweep ??= setInterval(() => {
      this.#giveUpOnWorkers();
      this.#giveUpOnRedis();
      if (this.#homeless.size > 0 || this.#redisAwaySinceMs !== undefined) return;
      clearInterval(this.#sweep);
      this.#sweep = undefined;
    }, sweepEveryMs);
  }

  #giveUpOnWorkers(): void {
    const latest = epochMs() - this.#waits.forWorkerMs;
    for (const [invocation, sinceMs] of this.#homeless) {
      if (sinceMs > latest) break;
      this.#homeless.delete(invocation);
      invocation.fail(noWorker());
    }
  }

  #giveUpOnRedis(): void {
    if (this.#redisAwaySinceMs === undefined) return;
    const latest = epochMs() - this.#waits.forRedisMs;
    if (this.#redisAwaySinceMs > latest) return;
    for (const worker of this.#workers.list()) {
      for (const sink of [...worker.queuedSinks()]) {
        if (sink.waiting && sink.item.acceptedAtMs <= latest) sink.fail(redisAway());
      }
    }
  }
}

function noWorker(): StokeError {
  return new StokeError('no_capacity', 'no worker is connected');
}

function redisAway(): StokeError {
  return new StokeError('unavailable', 'the queue of invocations is away');
}
