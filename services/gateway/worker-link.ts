/**
 * A connected worker as the gateway sees it: its queue, its reply channel, and who waits for which stream.
 * One writer of the stream table: this class.
 */
import { type ErrorBody, errorBodySchema, type StokeError } from '../contracts/errors.ts';
import {
  decodeHeadAndBody,
  decodeJson,
  decodeWindow,
  encodeWindow,
  type Frame,
  FrameError,
  frameTypes,
} from '../contracts/frames.ts';
import type { AnswerHead, Started, WorkerHello } from '../contracts/invocation.ts';
import type { FrameConnection } from '../platform/frame-connection.ts';
import type { NodeQueue, QueueEntry } from './producer.ts';

/** What happens to a stream. After `onEnd`, `onError`, `onLost` or a head with `end`, nothing more comes. */
export interface StreamSink {
  onStarted?(started: Started): void;
  /** `body` is valid during the call only. */
  onHead(head: AnswerHead, body: Buffer): void;
  /** `chunk` is valid during the call only. */
  onData(chunk: Buffer): void;
  onEnd(): void;
  onError(error: ErrorBody): void;
  /** More of the request body may be sent. */
  onWindow?(bytes: number): void;
  /** The worker is gone. */
  onLost(reason: Error): void;
}

/** A sink whose request travels through the node's queue. */
export interface QueuedSink extends StreamSink, QueueEntry {
  /** In the queue, and no instance has it: it may be enqueued again. */
  readonly waiting: boolean;
  /** Answers the caller with the error. */
  fail(error: StokeError): void;
}

export class WorkerLink {
  readonly hello: WorkerHello;
  readonly #connection: FrameConnection;
  readonly #queue: NodeQueue;
  readonly #sinks = new Map<number, StreamSink>();
  readonly #queued = new Map<number, QueuedSink>();
  lastHeardMs = performance.now();

  constructor(connection: FrameConnection, hello: WorkerHello, queue: NodeQueue) {
    this.#connection = connection;
    this.hello = hello;
    this.#queue = queue;
  }

  get inFlight(): number {
    return this.#queued.size;
  }

  /** Sends an invocation through the queue; its answer comes on `stream`. */
  enqueue(stream: number, sink: QueuedSink): void {
    this.#sinks.set(stream, sink);
    this.#queued.set(stream, sink);
    this.#queue.push(sink);
  }

  /** Asks the worker itself, on the channel. */
  ask(stream: number, request: Buffer, sink: StreamSink): void {
    this.#sinks.set(stream, sink);
    this.#connection.send(frameTypes.request, stream, request);
  }

  /** The volatile Redis came back empty: what had not started is enqueued again; the worker knows what it has seen. */
  enqueueAgain(): void {
    const lost: QueuedSink[] = [];
    for (const sink of this.#queued.values()) if (sink.waiting) lost.push(sink);
    this.#queue.restart(lost);
  }

  queuedSinks(): Iterable<QueuedSink> {
    return this.#queued.values();
  }

  sendData(stream: number, chunk: Buffer): void {
    this.#connection.send(frameTypes.data, stream, chunk);
  }

  sendEnd(stream: number): void {
    this.#connection.send(frameTypes.end, stream);
  }

  /** The client took `bytes` of the answer. */
  grant(stream: number, bytes: number): void {
    this.#connection.send(frameTypes.window, stream, encodeWindow(bytes));
  }

  /** Nobody waits for the stream any more: the worker ends it, or does not begin it. */
  cancel(stream: number): void {
    this.#forget(stream);
    this.#connection.send(frameTypes.cancel, stream);
  }

  ping(): void {
    this.#connection.send(frameTypes.ping, 0);
  }

  close(reason: Error): void {
    this.#connection.close(reason);
  }

  /** @throws FrameError when the frame contradicts the protocol */
  receive(frame: Frame): void {
    this.lastHeardMs = performance.now();
    if (frame.stream === 0) {
      this.#receiveOwn(frame);
      return;
    }
    const sink = this.#sinks.get(frame.stream);
    // Frames that crossed a cancel on the way have nobody to go to.
    if (sink) this.#deliver(frame, sink);
  }

  /** Called once, when the connection has ended. */
  lost(reason: Error): void {
    const sinks = [...this.#sinks.values()];
    this.#sinks.clear();
    this.#queued.clear();
    for (const sink of sinks) sink.onLost(reason);
  }

  async closeQueue(): Promise<void> {
    await this.#queue.close();
  }

  #receiveOwn(frame: Frame): void {
    if (frame.type === frameTypes.ping) this.#connection.send(frameTypes.pong, 0);
    else if (frame.type !== frameTypes.pong) throw new FrameError(`frame type ${frame.type} on stream 0`);
  }

  #deliver(frame: Frame, sink: StreamSink): void {
    const { stream, payload } = frame;
    switch (frame.type) {
      case frameTypes.started:
        sink.onStarted?.(decodeJson(payload) as Started);
        return;
      case frameTypes.head: {
        const { head, body } = decodeHeadAndBody(payload);
        if (!isAnswerHead(head)) throw new FrameError('answer head of another shape');
        if (head.end) this.#forget(stream);
        sink.onHead(head, body);
        return;
      }
      case frameTypes.data:
        sink.onData(payload);
        return;
      case frameTypes.end:
        this.#forget(stream);
        sink.onEnd();
        return;
      case frameTypes.error:
        this.#forget(stream);
        sink.onError(decodeError(payload));
        return;
      case frameTypes.window:
        sink.onWindow?.(decodeWindow(payload));
        return;
      default:
        throw new FrameError(`frame type ${frame.type} from a worker`);
    }
  }

  #forget(stream: number): void {
    this.#sinks.delete(stream);
    this.#queued.delete(stream);
  }
}

/** The shape of `answerHeadSchema`, by hand: this runs for every call. */
function isAnswerHead(head: unknown): head is AnswerHead {
  if (typeof head !== 'object' || head === null) return false;
  const { status, headers, end, handlerMs } = head as Partial<AnswerHead>;
  return (
    Number.isInteger(status) &&
    (status as number) >= 200 &&
    (status as number) <= 599 &&
    Array.isArray(headers) &&
    typeof end === 'boolean' &&
    typeof handlerMs === 'number'
  );
}

function decodeError(payload: Buffer): ErrorBody {
  const parsed = errorBodySchema.safeParse(decodeJson(payload));
  if (!parsed.success) throw new FrameError('error frame of another shape');
  return parsed.data;
}
