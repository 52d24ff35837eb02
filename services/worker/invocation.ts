/**
 * One call on this node, from its job to its last frame. Written by whoever holds it: the session it came on, the pool
 * while it waits, the instance while it runs.
 */
import type { ErrorBody } from '../contracts/errors.ts';
import { answerWindowBytes, type FrameType, frameTypes } from '../contracts/frames.ts';
import type { QueuedInvocation, StartKind } from '../contracts/invocation.ts';
import type { LineSplitter } from './line-splitter.ts';
import { OutputBudget } from './output-budget.ts';

/**
 * ```
 *  waiting ──▶ running ──▶ answered ──▶ over       answered: the gateway has its end or error, the slot is still taken
 *     └───────────┴──────────────────────▲
 * ```
 */
export type InvocationPhase = 'waiting' | 'running' | 'answered' | 'over';

/** The gateway's end of the invocation's stream. */
export interface GatewayStreams {
  send(type: FrameType, stream: number, payload?: Uint8Array | string): void;
  /** Nothing more is sent on the stream and nothing more is expected from it. */
  finished(stream: number): void;
}

/** The instance's end of it. */
export interface InvocationHost {
  readonly id: string;
  /** It runs one invocation at a time: to end it harms no other. */
  readonly solitary: boolean;
  send(type: FrameType, stream: number, payload?: Uint8Array | string): void;
  /** The stream's slot is not given back in time. */
  giveUp(stream: number, kind: 'deadline' | 'cancelled'): void;
}

export class Invocation {
  readonly item: QueuedInvocation;
  readonly dequeuedAtMs: number;
  readonly #gateway: GatewayStreams;
  phase: InvocationPhase = 'waiting';
  /** Deadline, or the end of a cancelled one's grace. */
  timer: NodeJS.Timeout | undefined;

  host: InvocationHost | undefined;
  hostStream = 0;
  /** The instance has sent a head, all of its answer. */
  headReceived = false;
  answerReceived = false;
  /** What the instance may still send of the answer, what it may still be sent of the body. */
  answerCredit = answerWindowBytes;
  bodyCredit = 0;
  /** A cancel was sent: its answer is thrown away, its slot is waited for. */
  cancelled = false;

  readonly output = new OutputBudget();
  stdout: LineSplitter | undefined;
  stderr: LineSplitter | undefined;

  constructor(item: QueuedInvocation, dequeuedAtMs: number, gateway: GatewayStreams) {
    this.item = item;
    this.dequeuedAtMs = dequeuedAtMs;
    this.#gateway = gateway;
  }

  get timeoutMs(): number {
    return Math.round(this.item.deadlineMs - this.item.acceptedAtMs);
  }

  /** An instance has it now. Also said again when it is repeated; the last one counts. */
  begin(host: InvocationHost, hostStream: number, start: StartKind, node: string): void {
    this.phase = 'running';
    this.host = host;
    this.hostStream = hostStream;
    const waitMs = epochMs() - this.dequeuedAtMs;
    const started = { start, node, instance: host.id, waitMs, dequeuedAtMs: this.dequeuedAtMs };
    this.#gateway.send(frameTypes.started, this.item.stream, JSON.stringify(started));
  }

  /** A frame of the answer for the gateway, its payload as it is. Dropped when nobody waits for it any more. */
  forward(type: FrameType, payload: Uint8Array): void {
    if (this.phase === 'running') this.#gateway.send(type, this.item.stream, payload);
  }

  /** The answer ends with what was forwarded last. */
  answered(): void {
    if (this.phase !== 'running') return;
    this.phase = 'answered';
    this.#gateway.finished(this.item.stream);
  }

  /** Answers with an error instead, or in the middle, of an answer; nothing happens when it was answered before. */
  fail(error: ErrorBody): void {
    if (this.phase !== 'waiting' && this.phase !== 'running') return;
    this.#gateway.send(frameTypes.error, this.item.stream, JSON.stringify(error));
    this.#close();
  }

  /** The gateway no longer wants an answer. */
  abandon(): void {
    if (this.phase === 'waiting' || this.phase === 'running') this.#close();
  }

  /** No instance has it any more. */
  settle(): void {
    clearTimeout(this.timer);
    this.phase = 'over';
    this.host = undefined;
  }

  /** Back to the queue of waiters: the instance that it was given to had died and never saw it. */
  takeBack(): void {
    this.phase = 'waiting';
    this.host = undefined;
  }

  #close(): void {
    if (this.phase === 'waiting') this.settle();
    else this.phase = 'answered';
    this.#gateway.finished(this.item.stream);
  }
}

/** Epoch milliseconds with fractions. */
export function epochMs(): number {
  return performance.timeOrigin + performance.now();
}
