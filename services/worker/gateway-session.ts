/**
 * One connection to a gateway, from its hello to its end: which invocation or query a stream is. When it ends, everything
 * that came on it is cancelled. The only writer of the table of streams.
 */

import { StokeError, toErrorBody } from '../contracts/errors.ts';
import {
  decodeHeadAndBody,
  decodeWindow,
  type Frame,
  FrameError,
  type FrameType,
  frameTypes,
} from '../contracts/frames.ts';
import { describeIssues } from '../contracts/function.ts';
import { type QueuedInvocation, type WorkerQuery, workerQuerySchema } from '../contracts/invocation.ts';
import type { FrameConnection } from '../platform/frame-connection.ts';
import { epochMs, type GatewayStreams, Invocation } from './invocation.ts';
import type { Overrun } from './overrun.ts';
import type { Pool } from './pool.ts';
import { QueryAnswer } from './query-answer.ts';
import { relayFromGateway } from './relay.ts';
import type { VersionSource } from './version-source.ts';

export interface SessionDeps {
  readonly pool: Pool;
  readonly overrun: Overrun;
  readonly versions: VersionSource;
  answerQuery(query: WorkerQuery, answer: QueryAnswer): void;
}

/** Streams are remembered in two halves of this size: a job that is delivered again comes soon after the first time. */
const rememberedStreams = 32 * 1024;

export class GatewaySession implements GatewayStreams {
  readonly #id: string;
  readonly #connection: FrameConnection;
  readonly #deps: SessionDeps;
  readonly #invocations = new Map<number, Invocation>();
  readonly #queries = new Map<number, QueryAnswer>();
  #seen = new Set<number>();
  #seenBefore = new Set<number>();
  #over = false;

  /** @param id the gateway's session */
  constructor(id: string, connection: FrameConnection, deps: SessionDeps) {
    this.#id = id;
    this.#connection = connection;
    this.#deps = deps;
  }

  send(type: FrameType, stream: number, payload: Uint8Array | string = ''): void {
    this.#connection.send(type, stream, payload);
  }

  finished(stream: number): void {
    this.#invocations.delete(stream);
    this.#queries.delete(stream);
  }

  /** Items of one job. Those that nobody waits for, or that came before, are ignored. */
  accept(items: readonly QueuedInvocation[]): void {
    const nowMs = epochMs();
    for (const item of items) {
      if (this.#over || item.session !== this.#id || item.deadlineMs <= nowMs || !this.#isNew(item.stream)) continue;
      const invocation = new Invocation(item, nowMs, this);
      this.#invocations.set(item.stream, invocation);
      this.#deps.overrun.watch(invocation);
      const record = this.#deps.versions.cached(item.function, item.version);
      if (record) this.#deps.pool.acquire(invocation, record);
      else void this.#acquireLater(invocation);
    }
  }

  /** @throws FrameError when the gateway may not send it */
  receive({ type, stream, payload }: Frame): void {
    if (stream === 0) {
      this.#receiveOwn(type, payload);
      return;
    }
    if (type === frameTypes.request) {
      this.#ask(stream, payload);
      return;
    }
    const invocation = this.#invocations.get(stream);
    if (type === frameTypes.cancel) {
      this.#cancel(stream, invocation);
      return;
    }
    if (invocation) {
      relayFromGateway(invocation, type, payload);
      return;
    }
    if (type === frameTypes.window) this.#queries.get(stream)?.grant(decodeWindow(payload));
  }

  /** The connection is gone. */
  end(): void {
    this.#over = true;
    for (const invocation of [...this.#invocations.values()]) this.#deps.overrun.cancel(invocation);
    for (const query of [...this.#queries.values()]) query.cancel();
  }

  async #acquireLater(invocation: Invocation): Promise<void> {
    try {
      const record = await this.#deps.versions.load(invocation.item.function, invocation.item.version);
      if (invocation.phase === 'waiting') this.#deps.pool.acquire(invocation, record);
    } catch (error) {
      invocation.fail(toErrorBody(error));
    }
  }

  /** A cancel may overtake its job: the stream counts as seen then. */
  #cancel(stream: number, invocation: Invocation | undefined): void {
    if (invocation) this.#deps.overrun.cancel(invocation);
    else if (!this.#isNew(stream)) this.#queries.get(stream)?.cancel();
  }

  #receiveOwn(type: FrameType, payload: Buffer): void {
    if (type === frameTypes.ping) this.send(frameTypes.pong, 0, payload);
    else if (type !== frameTypes.pong) throw new FrameError(`frame type ${type} on stream 0`);
  }

  #ask(stream: number, payload: Buffer): void {
    if (!this.#isNew(stream)) throw new FrameError(`stream ${stream} was used before`);
    const answer = new QueryAnswer(this, stream);
    this.#queries.set(stream, answer);
    const query = workerQuerySchema.safeParse(decodeHeadAndBody(payload).head);
    if (query.success) this.#deps.answerQuery(query.data, answer);
    else answer.fail(new StokeError('invalid_request', describeIssues(query.error)));
  }

  #isNew(stream: number): boolean {
    if (this.#seen.has(stream) || this.#seenBefore.has(stream)) return false;
    if (this.#seen.size >= rememberedStreams) {
      this.#seenBefore = this.#seen;
      this.#seen = new Set();
    }
    this.#seen.add(stream);
    return true;
  }
}
