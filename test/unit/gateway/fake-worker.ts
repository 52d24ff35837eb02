/**
 * A worker that really takes jobs off its BullMQ queue and speaks frames on the reply channel, with the function's part
 * played by the test.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Worker } from 'bullmq';
import { Redis } from 'ioredis';
import type { ErrorBody } from '../../../services/contracts/errors.ts';
import {
  decodeHeadAndBody,
  decodeJson,
  decodeWindow,
  encodeHeadAndBody,
  encodeWindow,
  type Frame,
  frameTypes,
} from '../../../services/contracts/frames.ts';
import {
  type AnswerHead,
  type GatewayHello,
  type InvocationBatch,
  nodeQueueName,
  type QueuedInvocation,
  type Started,
  type WorkerQuery,
  type WorkerStatus,
} from '../../../services/contracts/invocation.ts';
import { FrameConnection } from '../../../services/platform/frame-connection.ts';

/** One invocation, as the function's side of it. */
export class Call {
  readonly item: QueuedInvocation;
  readonly uploaded: Buffer[] = [];
  windowBytes = 0;
  readonly cancelled = Promise.withResolvers<void>();
  readonly uploadEnded = Promise.withResolvers<void>();
  onData: (bytes: number) => void = () => undefined;
  onWindow: () => void = () => undefined;
  readonly #worker: FakeWorker;

  constructor(worker: FakeWorker, item: QueuedInvocation) {
    this.#worker = worker;
    this.item = item;
  }

  get body(): Buffer {
    return this.item.body === null ? Buffer.concat(this.uploaded) : Buffer.from(this.item.body, 'base64');
  }

  started(extra: Partial<Started> = {}): void {
    const dequeuedAtMs = performance.timeOrigin + performance.now();
    const started: Started = { start: 'warm', node: 'n', instance: 'i', waitMs: 0.01, dequeuedAtMs, ...extra };
    this.#send(frameTypes.started, JSON.stringify(started));
  }

  head(head: Partial<AnswerHead> = {}, body: Buffer | string = ''): void {
    const whole: AnswerHead = { status: 200, headers: [], end: true, handlerMs: 0.5, ...head };
    this.#send(frameTypes.head, encodeHeadAndBody(JSON.stringify(whole), Buffer.from(body)));
  }

  data(chunk: Buffer | string): void {
    this.#send(frameTypes.data, chunk);
  }

  end(): void {
    this.#send(frameTypes.end, '');
  }

  error(error: ErrorBody): void {
    this.#send(frameTypes.error, JSON.stringify(error));
  }

  grant(bytes: number): void {
    this.#send(frameTypes.window, encodeWindow(bytes));
  }

  #send(type: (typeof frameTypes)[keyof typeof frameTypes], payload: Buffer | string): void {
    this.#worker.connection.send(type, this.item.stream, payload);
  }
}

export type Serve = (call: Call) => void;
export type Answer = (query: WorkerQuery) => unknown;

export interface FakeWorkerOptions {
  replySocket: string;
  redis: string;
  node?: string;
  incarnation?: string;
  serve: Serve;
  /** Takes no jobs before `resume`. */
  paused?: boolean;
  /** Answers queries; a thrown `ErrorBody` is sent as an error. A string goes out as it is, without an end when it ends in `…`. */
  answer?: Answer;
}

export class FakeWorker {
  readonly connection: FrameConnection;
  readonly calls = new Map<number, Call>();
  readonly queries: WorkerQuery[] = [];
  readonly cancelledStreams = new Set<number>();
  /** Sizes of the jobs that were taken. */
  readonly batches: number[] = [];
  readonly closed = Promise.withResolvers<void>();
  answersPings = true;
  session = '';
  readonly queue: string;
  readonly node: string;
  readonly incarnation: string;
  readonly #options: FakeWorkerOptions;
  readonly #greeted = Promise.withResolvers<void>();
  readonly #redis: Redis;
  readonly #worker: Worker<InvocationBatch>;

  static async connect(options: FakeWorkerOptions): Promise<FakeWorker> {
    const socket = connect(options.replySocket);
    await once(socket, 'connect');
    const worker = new FakeWorker(options, socket);
    await worker.#greeted.promise;
    await worker.#worker.waitUntilReady();
    return worker;
  }

  private constructor(options: FakeWorkerOptions, socket: Socket) {
    this.#options = options;
    const node = options.node ?? 'node-1';
    const incarnation = options.incarnation ?? randomUUID().slice(0, 8);
    this.node = node;
    this.incarnation = incarnation;
    this.queue = nodeQueueName(node, incarnation);
    this.connection = new FrameConnection(socket, {
      onFrame: (frame) => this.#receive(frame),
      onClose: () => this.closed.resolve(),
    });
    this.connection.send(frameTypes.hello, 0, JSON.stringify({ protocol: 1, node, incarnation, queue: this.queue }));
    this.#redis = new Redis(options.redis, { maxRetriesPerRequest: null, retryStrategy: () => 20 });
    this.#redis.on('error', () => undefined);
    this.#worker = new Worker<InvocationBatch>(
      this.queue,
      async (job) => {
        this.batches.push(job.data.items.length);
        for (const item of job.data.items) this.#take(item);
      },
      { connection: this.#redis, concurrency: 64, autorun: !options.paused },
    );
    this.#worker.on('error', () => undefined);
  }

  resume(): void {
    this.#worker.run().catch(() => undefined);
  }

  /** Breaks the channel and stops taking jobs, as a worker that was killed. */
  async kill(): Promise<void> {
    // What was sent before leaves at the end of the turn.
    await new Promise(setImmediate);
    this.connection.close();
    await this.#worker.close(true);
    this.#redis.disconnect();
  }

  #take(item: QueuedInvocation): void {
    // The contract: not of another session, not twice, not after a cancel.
    if (item.session !== this.session || this.calls.has(item.stream) || this.cancelledStreams.has(item.stream)) return;
    const call = new Call(this, item);
    this.calls.set(item.stream, call);
    this.#options.serve(call);
  }

  #receive(frame: Frame): void {
    const call = this.calls.get(frame.stream);
    switch (frame.type) {
      case frameTypes.hello:
        this.session = (decodeJson(frame.payload) as GatewayHello).session;
        this.#greeted.resolve();
        return;
      case frameTypes.ping:
        if (this.answersPings) this.connection.send(frameTypes.pong, 0);
        return;
      case frameTypes.request:
        this.#answer(frame.stream, decodeHeadAndBody(frame.payload).head as WorkerQuery);
        return;
      case frameTypes.cancel:
        this.cancelledStreams.add(frame.stream);
        call?.cancelled.resolve();
        return;
      case frameTypes.data:
        call?.uploaded.push(Buffer.from(frame.payload));
        call?.onData(frame.payload.byteLength);
        return;
      case frameTypes.end:
        call?.uploadEnded.resolve();
        return;
      case frameTypes.window:
        if (!call) return;
        call.windowBytes += decodeWindow(frame.payload);
        call.onWindow();
        return;
      default:
        throw new Error(`frame type ${frame.type} from the gateway`);
    }
  }

  #status(): WorkerStatus {
    return { node: this.node, incarnation: this.incarnation, instances: [], waiting: 0, maxInstances: 1 };
  }

  #answer(stream: number, query: WorkerQuery): void {
    this.queries.push(query);
    try {
      const answer = this.#options.answer?.(query) ?? (query.op === 'status' ? this.#status() : {});
      const text = typeof answer === 'string' ? answer : JSON.stringify(answer);
      const open = text.endsWith('…');
      const head: AnswerHead = { status: 200, headers: [], end: false, handlerMs: 0 };
      this.connection.send(frameTypes.head, stream, encodeHeadAndBody(JSON.stringify(head), Buffer.alloc(0)));
      this.connection.send(frameTypes.data, stream, open ? text.slice(0, -1) : text);
      if (!open) this.connection.send(frameTypes.end, stream);
    } catch (error) {
      this.connection.send(frameTypes.error, stream, JSON.stringify(error));
    }
  }
}
