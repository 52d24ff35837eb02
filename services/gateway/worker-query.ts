/** Questions to a worker on the reply channel (`WorkerQuery`): one JSON document, or a stream of NDJSON. */
import { StokeError } from '../contracts/errors.ts';
import { encodeHeadAndBody } from '../contracts/frames.ts';
import type { WorkerQuery } from '../contracts/invocation.ts';
import type { WorkerLink } from './worker-link.ts';

const nothing = Buffer.alloc(0);
const bufferedBytes = 64 * 1024;

function encodeQuery(query: WorkerQuery): Buffer {
  return encodeHeadAndBody(JSON.stringify(query), nothing);
}

function workerLost(cause: Error): StokeError {
  return new StokeError('worker_lost', 'the worker ended before it had answered', { cause });
}

/**
 * @param stream from `Dispatcher.nextStream`
 * @returns the parsed JSON document; undefined for an empty answer
 * @throws StokeError the worker's own, `worker_lost`, or `unavailable` when nothing came within `withinMs`
 */
export function askWorker(worker: WorkerLink, stream: number, query: WorkerQuery, withinMs: number): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const chunks: Buffer[] = [];
  const timer = setTimeout(() => {
    worker.cancel(stream);
    reject(new StokeError('unavailable', `the worker did not answer within ${withinMs} ms`));
  }, withinMs);
  const finish = () => {
    try {
      const text = Buffer.concat(chunks).toString('utf8');
      resolve(text === '' ? undefined : JSON.parse(text));
    } catch (cause) {
      reject(new StokeError('internal', 'the worker answered with something that is not JSON', { cause }));
    }
  };
  worker.ask(stream, encodeQuery(query), {
    onHead: (head, body) => {
      chunks.push(Buffer.from(body));
      if (head.end) finish();
    },
    onData: (chunk) => {
      chunks.push(Buffer.from(chunk));
      worker.grant(stream, chunk.byteLength);
    },
    onEnd: finish,
    onError: (error) => reject(StokeError.from(error)),
    onLost: (reason) => reject(workerLost(reason)),
  });
  return promise.finally(() => clearTimeout(timer));
}

/**
 * The answer's bytes as they come, as fast as they are read. Cancelling the stream cancels the query; with `onEnd` the
 * caller learns that it is over.
 * @returns resolves at the answer's head, so that a worker's refusal is still an error answer
 */
export function streamFromWorker(
  worker: WorkerLink,
  stream: number,
  query: WorkerQuery,
): Promise<ReadableStream<Uint8Array>> {
  const { promise, resolve, reject } = Promise.withResolvers<ReadableStream<Uint8Array>>();
  let ungrantedBytes = 0;
  let cancelled = false;
  let output: ReadableStreamDefaultController<Uint8Array> | undefined;
  const body = new ReadableStream<Uint8Array>(
    {
      start: (controller) => {
        output = controller;
      },
      pull: () => {
        if (ungrantedBytes > 0) worker.grant(stream, ungrantedBytes);
        ungrantedBytes = 0;
      },
      cancel: () => {
        cancelled = true;
        worker.cancel(stream);
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: bufferedBytes }),
  );
  const fail = (error: StokeError) => {
    reject(error);
    if (!cancelled) output?.error(error);
  };
  const end = () => {
    if (!cancelled) output?.close();
  };
  worker.ask(stream, encodeQuery(query), {
    onHead: (head, first) => {
      resolve(body);
      if (first.byteLength > 0) output?.enqueue(Uint8Array.from(first));
      if (head.end) end();
    },
    onData: (chunk) => {
      ungrantedBytes += chunk.byteLength;
      output?.enqueue(Uint8Array.from(chunk));
    },
    onEnd: end,
    onError: (error) => fail(StokeError.from(error)),
    onLost: (reason) => fail(workerLost(reason)),
  });
  return promise;
}
