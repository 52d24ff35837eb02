/** Stands in for the gateway in the worker's tests: the listening end of the reply channel and real BullMQ jobs. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import type { ErrorBody } from '../../../services/contracts/errors.ts';
import {
  decodeHeadAndBody,
  decodeJson,
  encodeHeadAndBody,
  encodeWindow,
  type Frame,
  type FrameType,
  frameTypes,
} from '../../../services/contracts/frames.ts';
import {
  type AnswerHead,
  type QueuedInvocation,
  type Started,
  startedSchema,
  type WorkerHello,
  type WorkerQuery,
  workerHelloSchema,
} from '../../../services/contracts/invocation.ts';
import { FrameConnection } from '../../../services/platform/frame-connection.ts';

/** What came back on one stream. */
export class Reply {
  readonly stream: number;
  readonly id: string;
  readonly started: Started[] = [];
  readonly chunks: Buffer[] = [];
  head: AnswerHead | undefined;
  error: ErrorBody | undefined;
  windowBytes = 0;
  readonly #done = Promise.withResolvers<Reply>();
  #changed = Promise.withResolvers<void>();

  constructor(stream: number, id: string) {
    this.stream = stream;
    this.id = id;
  }

  /** Resolves at its end, whether answer or error. */
  get done(): Promise<Reply> {
    return this.#done.promise;
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  get pid(): string | undefined {
    return this.head?.headers[1];
  }

  /** Resolves once the condition holds; it is looked at after each frame. */
  async until(condition: (reply: Reply) => boolean): Promise<Reply> {
    while (!condition(this)) await this.#changed.promise;
    return this;
  }

  receive(type: FrameType, payload: Buffer): void {
    if (type === frameTypes.started) this.started.push(startedSchema.parse(decodeJson(payload)));
    if (type === frameTypes.head) {
      const { head, body } = decodeHeadAndBody(payload);
      this.head = head as AnswerHead;
      this.chunks.push(Buffer.from(body));
    }
    if (type === frameTypes.data) this.chunks.push(Buffer.from(payload));
    if (type === frameTypes.error) this.error = decodeJson(payload) as ErrorBody;
    if (type === frameTypes.window) this.windowBytes += payload.readUInt32BE(0);
    if (this.error || type === frameTypes.end || (type === frameTypes.head && this.head?.end)) this.#done.resolve(this);
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

export interface CallOptions {
  function?: string;
  version?: number;
  path?: string;
  body?: string | null;
  timeoutMs?: number;
  stream?: number;
}

export class FakeGateway {
  readonly session = randomBytes(4).toString('hex');
  hello: WorkerHello | undefined;
  pongs = 0;
  hellos = 0;
  readonly #path: string;
  readonly #redis: Redis;
  readonly #replies = new Map<number, Reply>();
  #queue: Queue | undefined;
  #server: Server | undefined;
  #connection: FrameConnection | undefined;
  #greeted = Promise.withResolvers<void>();
  #nextStream = 1;

  constructor(path: string, redisPath: string) {
    this.#path = path;
    this.#redis = new Redis(redisPath, { maxRetriesPerRequest: null });
  }

  get greeted(): Promise<void> {
    return this.#greeted.promise;
  }

  async listen(): Promise<void> {
    this.#server = createServer((socket) => {
      this.#connection = new FrameConnection(socket, {
        onFrame: (frame) => this.#receive(frame),
        onClose: () => undefined,
      });
    });
    this.#server.listen(this.#path);
    await once(this.#server, 'listening');
  }

  /** Breaks the reply channel; the worker connects again. */
  hangUp(): void {
    this.#greeted = Promise.withResolvers<void>();
    this.#connection?.close();
  }

  async close(): Promise<void> {
    this.#connection?.close();
    await new Promise((resolve) => this.#server?.close(resolve));
    await this.#queue?.close();
    this.#redis.disconnect();
  }

  /** An invocation as it travels. */
  item(options: CallOptions = {}): QueuedInvocation {
    const nowMs = Date.now();
    return {
      id: uuid7(nowMs),
      session: this.session,
      stream: options.stream ?? this.#nextStream++,
      function: options.function ?? 'plain',
      version: options.version ?? 1,
      acceptedAtMs: nowMs,
      deadlineMs: nowMs + (options.timeoutMs ?? 10_000),
      method: 'POST',
      path: options.path ?? '/echo',
      headers: ['x-test', '1'],
      body: options.body === null ? null : Buffer.from(options.body ?? '').toString('base64'),
    };
  }

  /** Adds one job with the items; a reply for each. */
  async add(items: QueuedInvocation[]): Promise<Reply[]> {
    const replies = items.map((item) => this.#expect(item.stream, item.id));
    await this.#queue?.add('batch', { items }, { removeOnComplete: true, removeOnFail: true });
    return replies;
  }

  async call(options: CallOptions = {}): Promise<Reply> {
    const [reply] = await this.add([this.item(options)]);
    return reply as Reply;
  }

  ask(query: WorkerQuery): Reply {
    const reply = this.#expect(this.#nextStream++, 'query');
    this.send(frameTypes.request, reply.stream, encodeHeadAndBody(JSON.stringify(query), Buffer.alloc(0)));
    return reply;
  }

  send(type: FrameType, stream: number, payload: Uint8Array | string = ''): void {
    this.#connection?.send(type, stream, payload);
  }

  grant(reply: Reply, bytes: number): void {
    this.send(frameTypes.window, reply.stream, encodeWindow(bytes));
  }

  #expect(stream: number, id: string): Reply {
    const reply = new Reply(stream, id);
    this.#replies.set(stream, reply);
    return reply;
  }

  #receive({ type, stream, payload }: Frame): void {
    if (type === frameTypes.hello) {
      this.hello = workerHelloSchema.parse(decodeJson(payload));
      this.hellos++;
      void this.#queue?.close();
      this.#queue = new Queue(this.hello.queue, { connection: this.#redis });
      this.send(frameTypes.hello, 0, JSON.stringify({ protocol: 1, session: this.session }));
      this.#greeted.resolve();
    } else if (type === frameTypes.pong) this.pongs++;
    else this.#replies.get(stream)?.receive(type, payload);
  }
}

function uuid7(nowMs: number): string {
  const hex = nowMs.toString(16).padStart(12, '0') + randomBytes(10).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-7${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
