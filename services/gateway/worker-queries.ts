/** Questions to the workers that are connected now. */
import { StokeError } from '../contracts/errors.ts';
import type { WorkerQuery } from '../contracts/invocation.ts';
import type { Log } from '../platform/log.ts';
import { chooseWorker } from './placement.ts';
import { askWorker, streamFromWorker } from './worker-query.ts';
import type { Workers } from './workers.ts';

export class WorkerQueries {
  readonly #workers: Workers;
  readonly #nextStream: () => number;
  readonly #log: Log;

  constructor(workers: Workers, nextStream: () => number, log: Log) {
    this.#workers = workers;
    this.#nextStream = nextStream;
    this.#log = log;
  }

  get connected(): number {
    return this.#workers.list().length;
  }

  /** Asks any one worker. @throws StokeError `no_capacity` when none is connected; the worker's own */
  async askOne(query: WorkerQuery, withinMs: number): Promise<unknown> {
    return askWorker(this.#one(), this.#nextStream(), query, withinMs);
  }

  /** Asks all at a time; a worker that fails is logged and left out. */
  async askAll(query: WorkerQuery, withinMs: number): Promise<unknown[]> {
    const asked = this.#workers.list().map(async (worker) => {
      try {
        return await askWorker(worker, this.#nextStream(), query, withinMs);
      } catch (error) {
        this.#log.warn({ err: error, node: worker.hello.node, op: query.op }, 'a worker did not answer');
        return undefined;
      }
    });
    return (await Promise.all(asked)).filter((answer) => answer !== undefined);
  }

  /** A stream of NDJSON from any one worker: there is one node now. */
  async stream(query: WorkerQuery): Promise<ReadableStream<Uint8Array>> {
    return streamFromWorker(this.#one(), this.#nextStream(), query);
  }

  #one() {
    const worker = chooseWorker(this.#workers.list(), Math.random);
    if (!worker) throw new StokeError('no_capacity', 'no worker is connected');
    return worker;
  }
}
