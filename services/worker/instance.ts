/**
 * A container that serves one version, from the wish for it to its removal. The only writer of its state, of its control
 * connection and of the list of what runs on it; which invocation it gets is the pool's decision.
 */
import type { Socket } from 'node:net';
import type { ContainerExit, ContainerStarted } from '../contracts/daemon-api.ts';
import type { ErrorBody } from '../contracts/errors.ts';
import { errorCodes, toErrorBody } from '../contracts/errors.ts';
import { type Frame, FrameError, type FrameType, frameTypes } from '../contracts/frames.ts';
import type { VersionRecord } from '../contracts/function.ts';
import type { StartKind } from '../contracts/invocation.ts';
import { FrameConnection } from '../platform/frame-connection.ts';
import { type EndCause, endError, endText } from './instance-end.ts';
import { readInstanceError } from './instance-error.ts';
import { type InstanceEvent, type InstanceState, nextInstanceState } from './instance-state.ts';
import type { Invocation, InvocationHost } from './invocation.ts';
import { InstanceOutput, type LogSink } from './output.ts';
import { encodeRequest, relayFromInstance } from './relay.ts';

/** How long the errors of an instance's end wait for what the daemon knows of it. */
const exitBoundMs = 1000;
/** How long its output is read after its end. */
const drainBoundMs = 200;
/** The connection of a process that has ended ends with it; a child of it may keep it open. */
const connectionEndBoundMs = 200;
/** An instance that does not answer a ping in this time is stuck. */
const pingBoundMs = 1000;

/** Its owner, the pool. Calls come in the same turn as their cause, unless said otherwise. */
export interface InstanceOwner {
  onReady(instance: Instance): void;
  /** A slot is free again. Not said of a retiring instance. */
  onFreed(instance: Instance): void;
  /** It must get nothing new: `retire` is due. */
  onUnusable(instance: Instance): void;
  /** It was ready and is gone. */
  onGone(instance: Instance): void;
  /** It is gone and was never ready. Said once its exit is known, or after a second. */
  onStartFailed(instance: Instance, error: ErrorBody, cause: EndCause): void;
  /** It had died before this invocation was given to it: somebody else may have it. */
  onReturned(instance: Instance, invocation: Invocation): void;
}

export interface InstanceDeps {
  readonly node: string;
  readonly owner: InstanceOwner;
  readonly logs: LogSink;
  create(signal: AbortSignal): Promise<ContainerStarted>;
  /** Resolves once the container is gone; undefined when nothing is known of how. */
  remove(): Promise<ContainerExit | undefined>;
}

export class Instance implements InvocationHost {
  readonly id: string;
  readonly record: VersionRecord;
  /** The invocation that this start was made for; its output belongs to it. */
  readonly startedFor: Invocation | undefined;
  readonly startBoundMs: number;
  readonly output: InstanceOutput;
  readonly createdAtMs = performance.now();
  readonly running = new Map<number, Invocation>();
  readyAtMs = 0;
  idleSinceMs = 0;
  invocations = 0;
  pid: number | null = null;
  readonly #deps: InstanceDeps;
  readonly #abortStart = new AbortController();
  #state: InstanceState = 'starting';
  #wasReady = false;
  #connection: FrameConnection | undefined;
  #created: Promise<unknown> = Promise.resolve();
  #startTimer: NodeJS.Timeout | undefined;
  #pingTimer: NodeJS.Timeout | undefined;
  #nextStream = 1;
  /** Sent after the last `request` frame: then a broken connection no longer proves that the request was not read. */
  #sentSinceRequest = true;
  /** Streams whose slots nobody counts on any more. */
  readonly #abandoned = new Set<number>();
  /** Resolves when the container is gone, and all that was running on it has its answer. */
  readonly ended = Promise.withResolvers<void>();

  constructor(
    id: string,
    record: VersionRecord,
    startedFor: Invocation | undefined,
    startBoundMs: number,
    deps: InstanceDeps,
  ) {
    this.id = id;
    this.startBoundMs = startBoundMs;
    this.record = record;
    this.startedFor = startedFor;
    this.#deps = deps;
    const of = { function: record.function, version: record.version, instance: id };
    this.output = new InstanceOutput(deps.logs, of, () => this.#outputOwner());
  }

  get state(): InstanceState {
    return this.#state;
  }

  get connected(): boolean {
    return this.#connection !== undefined && this.#state !== 'gone';
  }

  get solitary(): boolean {
    return this.record.config.concurrency === 1;
  }

  get slotsFree(): number {
    return this.record.config.concurrency - this.running.size;
  }

  /** Asks the daemon for the container. What counts as started is `ready` on its connection, not the daemon's answer. */
  start(): void {
    const boundMs = this.startBoundMs;
    this.#startTimer = setTimeout(() => this.end({ kind: 'start_timeout', afterMs: boundMs }), boundMs);
    this.#created = this.#deps.create(this.#abortStart.signal).then(
      (started) => {
        this.pid = started.pid;
      },
      (error: unknown) => {
        if (!this.#wasReady) this.end({ kind: 'refused', body: refusal(error) });
      },
    );
  }

  /** Takes over the socket of its control channel. `rest` is what came behind the hello. @returns whether it is the first one */
  attachControl(socket: Socket, rest: Buffer): boolean {
    if (this.#connection || this.#state === 'gone') return false;
    this.output.throttle.add(socket);
    this.#connection = new FrameConnection(socket, {
      onFrame: (frame) => this.#receive(frame),
      onClose: (reason) => this.#onClose(reason),
    });
    // Not handed to the connection as its first bytes: `ready` may be among them, and has to find the connection set.
    if (rest.byteLength > 0) socket.unshift(rest);
    return true;
  }

  /** Gives it an invocation; there must be a free slot. */
  run(invocation: Invocation, start: StartKind): void {
    this.#step('taken');
    const stream = this.#nextStream++;
    this.running.set(stream, invocation);
    this.invocations++;
    const payload = encodeRequest(invocation);
    this.#connection?.send(frameTypes.request, stream, payload);
    this.#sentSinceRequest = false;
    invocation.begin(this, stream, start, this.#deps.node);
  }

  send(type: FrameType, stream: number, payload: Uint8Array | string = ''): void {
    this.#sentSinceRequest = true;
    this.#connection?.send(type, stream, payload);
  }

  /** Takes nothing new; ends when nothing is left running. The pool has let go of it before. */
  retire(): void {
    if (this.#state === 'gone') return;
    this.#step('retired');
    this.#endIfDone();
  }

  /**
   * This slot is not counted on any more. A solitary instance is ended; another one gets nothing new and ends once its
   * other invocations are over, or at once when its event loop hangs.
   */
  giveUp(stream: number, kind: 'deadline' | 'cancelled'): void {
    if (this.solitary) {
      this.end({ kind });
      return;
    }
    this.#abandoned.add(stream);
    this.#deps.owner.onUnusable(this);
    if (this.#state !== 'gone') this.#checkAlive();
  }

  #checkAlive(): void {
    if (this.#pingTimer) return;
    this.#pingTimer = setTimeout(() => this.end({ kind: 'stuck' }), pingBoundMs);
    this.send(frameTypes.ping, 0);
  }

  /** The daemon saw it end. With a connection, the connection's end tells more: whether the last request was read. */
  onExited(): void {
    if (!this.#connection) this.end({ kind: 'lost' });
    else setTimeout(() => this.end({ kind: 'lost' }), connectionEndBoundMs).unref();
  }

  /** Ends it at once, whatever it does. A second call changes nothing. */
  end(cause: EndCause): void {
    if (this.#state === 'gone') return;
    this.#step('ended');
    clearTimeout(this.#startTimer);
    clearTimeout(this.#pingTimer);
    this.#abortStart.abort();
    this.#connection?.close();
    if (this.#wasReady) this.#deps.owner.onGone(this);
    void this.#finish(cause);
  }

  async #finish(cause: EndCause): Promise<void> {
    // Not before the daemon has answered the start: it may not know of the container yet.
    const removed = this.#created.then(() => this.#deps.remove());
    const exit = await within(removed, exitBoundMs);
    await this.output.drained(drainBoundMs);
    this.output.flush(this.#wasReady ? undefined : this.startedFor);
    const facts = { cause, exit, starting: !this.#wasReady, lines: this.output.recent };
    const error = endError(facts);
    const affected = this.#wasReady ? [...this.running.values()] : [this.startedFor];
    for (const invocation of affected.length > 0 ? affected : [undefined])
      this.output.system(invocation, endText(facts));
    for (const invocation of this.running.values()) {
      this.output.flush(invocation);
      invocation.fail(error);
      invocation.settle();
    }
    this.running.clear();
    if (!this.#wasReady) this.#deps.owner.onStartFailed(this, error, cause);
    await removed;
    this.ended.resolve();
  }

  #onClose(reason: Error | undefined): void {
    if (reason instanceof FrameError) {
      this.end({ kind: 'violation', message: reason.message });
      return;
    }
    this.#returnUnread(reason);
    this.end({ kind: 'lost' });
  }

  /** An instance that had served before and died idle never saw what it was given last. */
  #returnUnread(reason: Error | undefined): void {
    if (this.#sentSinceRequest || this.running.size !== 1 || this.invocations < 2 || !isUnread(reason)) return;
    const [invocation] = this.running.values();
    if (invocation?.phase !== 'running') return;
    this.running.clear();
    invocation.takeBack();
    this.#deps.owner.onReturned(this, invocation);
  }

  #receive(frame: Frame): void {
    if (frame.stream === 0) {
      this.#receiveOwn(frame);
      return;
    }
    const invocation = this.running.get(frame.stream);
    if (!invocation) {
      this.#receivePast(frame);
      return;
    }
    this.#sentSinceRequest = true;
    switch (frame.type) {
      case frameTypes.log:
        this.output.logFrame(invocation, frame.payload);
        return;
      case frameTypes.error:
        this.#receiveError(invocation, frame.payload);
        return;
      case frameTypes.settled:
        this.#settled(frame.stream, invocation);
        return;
      default:
        relayFromInstance(invocation, frame.type, frame.payload);
    }
  }

  #receiveOwn(frame: Frame): void {
    switch (frame.type) {
      case frameTypes.log:
        this.output.logFrame(this.#wasReady ? undefined : this.startedFor, frame.payload);
        return;
      case frameTypes.ready:
        this.#ready();
        return;
      case frameTypes.failed:
        this.#failed(frame.payload);
        return;
      case frameTypes.pong:
        clearTimeout(this.#pingTimer);
        this.#pingTimer = undefined;
        return;
      default:
        throw new FrameError(`frame type ${frame.type} on stream 0`);
    }
  }

  /** What was under way when its stream ended is no fault; a stream that never was, is. */
  #receivePast({ type, stream, payload }: Frame): void {
    if (stream >= this.#nextStream) throw new FrameError(`frame for unknown stream ${stream}`);
    if (type === frameTypes.log) this.output.logFrame(undefined, payload);
    else if (type !== frameTypes.window) throw new FrameError(`frame type ${type} for a settled stream`);
  }

  #ready(): void {
    if (this.#wasReady) throw new FrameError('a second ready');
    clearTimeout(this.#startTimer);
    this.output.flush(this.startedFor);
    this.#wasReady = true;
    this.readyAtMs = this.idleSinceMs = performance.now();
    this.#step('ready');
    this.#deps.owner.onReady(this);
    this.#endIfDone();
  }

  #failed(payload: Buffer): void {
    if (this.#wasReady) throw new FrameError('failed after ready');
    const { body, text } = readInstanceError(payload, 'function_unloadable');
    this.output.error(this.startedFor, text);
    this.end({ kind: 'unloadable', body });
  }

  #receiveError(invocation: Invocation, payload: Buffer): void {
    if (invocation.answerReceived) throw new FrameError('error after the end of the answer');
    invocation.answerReceived = true;
    const { body, text } = readInstanceError(payload, 'handler_error');
    this.output.error(invocation, text);
    if (invocation.phase === 'running') invocation.fail(body);
  }

  #settled(stream: number, invocation: Invocation): void {
    if (!invocation.answerReceived && !invocation.cancelled) throw new FrameError('settled before its answer');
    this.output.flush(invocation);
    this.running.delete(stream);
    this.#abandoned.delete(stream);
    invocation.settle();
    if (this.running.size === 0) this.#step('drained');
    if (this.#state === 'retiring') {
      this.#endIfDone();
      return;
    }
    this.idleSinceMs = performance.now();
    this.#deps.owner.onFreed(this);
  }

  #endIfDone(): void {
    if (this.#state !== 'retiring' || !this.#wasReady || this.running.size > this.#abandoned.size) return;
    this.end({ kind: this.#abandoned.size > 0 ? 'cancelled' : 'retired' });
  }

  /** Raw output does not say whose it is. */
  #outputOwner(): Invocation | undefined {
    if (!this.#wasReady) return this.startedFor;
    if (!this.solitary) return undefined;
    for (const invocation of this.running.values()) return invocation;
    return undefined;
  }

  #step(event: InstanceEvent): void {
    this.#state = nextInstanceState(this.#state, event);
  }
}

/**
 * A unix socket tells whether its peer had read all: EPIPE when it had closed before the write, ECONNRESET when it closed
 * with unread data (unix_release_sock in Linux). If a request was the last thing sent, it was not read whole, so nothing
 * of it ran. The third: Node had seen the peer's end and let nothing out.
 */
function isUnread(reason: Error | undefined): boolean {
  const code = (reason as NodeJS.ErrnoException | undefined)?.code;
  return code === 'EPIPE' || code === 'ECONNRESET' || code === 'ERR_STREAM_WRITE_AFTER_END';
}

/** The daemon's own faults keep their code; a request that it refuses is this platform's fault, not the caller's. */
function refusal(error: unknown): ErrorBody {
  const body = toErrorBody(error);
  if (errorCodes[body.code].kind === 'system' && body.code !== 'internal') return body;
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'container_start_failed', message: `the container did not start: ${message}` };
}

/** @returns undefined when it takes longer or fails */
async function within<T>(promise: Promise<T>, boundMs: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const bound = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, boundMs, undefined);
  });
  return Promise.race([promise.catch(() => undefined), bound]).finally(() => clearTimeout(timer));
}
