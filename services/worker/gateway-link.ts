/**
 * The worker's end of the reply channel: connects to the gateway, says hello, and connects again for as long as it runs.
 * Each connection has a queue of its own, so that jobs of a connection that has ended are never met again.
 */
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeJson, type Frame, FrameError, frameTypes } from '../contracts/frames.ts';
import { gatewayHelloSchema, nodeQueueName, type QueuedInvocation, type WorkerHello } from '../contracts/invocation.ts';
import { FrameConnection } from '../platform/frame-connection.ts';
import type { Log } from '../platform/log.ts';
import { GatewaySession, type SessionDeps } from './gateway-session.ts';

const firstRetryMs = 20;
const longestRetryMs = 500;
const helloBoundMs = 3000;

export interface QueueConsumer {
  /** No more jobs are taken once it resolves. */
  close(): Promise<void>;
}

export interface GatewayLinkOptions {
  socketPath: string;
  node: string;
  incarnation: string;
  session: SessionDeps;
  consume(queue: string, onItems: (items: readonly QueuedInvocation[]) => void): QueueConsumer;
  log: Log;
}

export class GatewayLink {
  readonly #options: GatewayLinkOptions;
  readonly #closing = new AbortController();
  #running: Promise<void> | undefined;
  #connection: FrameConnection | undefined;
  #consumer: QueueConsumer | undefined;
  #connections = 0;

  constructor(options: GatewayLinkOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Takes no more jobs; what came already may be answered. */
  async stopConsuming(): Promise<void> {
    this.#closing.abort();
    await this.#consumer?.close();
  }

  async close(): Promise<void> {
    await this.stopConsuming();
    this.#connection?.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    let waitMs = firstRetryMs;
    let told = false;
    while (!signal.aborted) {
      const { greeted, reason } = await this.#connect();
      if (greeted) waitMs = firstRetryMs;
      // Once per outage: at its beginning.
      if ((greeted || !told) && !signal.aborted) this.#options.log.warn({ err: reason }, 'no gateway; retrying');
      told = true;
      // Ended by close(): the loop's condition sees it.
      await sleep(waitMs, undefined, { signal }).catch(() => undefined);
      waitMs = Math.min(waitMs * 2, longestRetryMs);
    }
  }

  /** One connection from its beginning to its end. */
  async #connect(): Promise<{ greeted: boolean; reason: Error | undefined }> {
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    const queue = nodeQueueName(this.#options.node, `${this.#options.incarnation}-${++this.#connections}`);
    let session: GatewaySession | undefined;
    const connection = new FrameConnection(connect(this.#options.socketPath), {
      onFrame: (frame) => {
        if (session) return session.receive(frame);
        session = this.#greeted(connection, frame, queue);
      },
      onClose: resolve,
    });
    this.#connection = connection;
    const timer = setTimeout(() => {
      if (!session) connection.close(new Error('the gateway did not say hello'));
    }, helloBoundMs);
    const hello: WorkerHello = { protocol: 1, node: this.#options.node, incarnation: this.#options.incarnation, queue };
    connection.send(frameTypes.hello, 0, JSON.stringify(hello));
    const reason = await promise;
    clearTimeout(timer);
    session?.end();
    await this.#consumer?.close();
    this.#consumer = undefined;
    return { greeted: session !== undefined, reason };
  }

  #greeted(connection: FrameConnection, frame: Frame, queue: string): GatewaySession {
    if (frame.type !== frameTypes.hello) throw new FrameError('the first frame is no hello');
    const hello = gatewayHelloSchema.safeParse(decodeJson(frame.payload));
    if (!hello.success) throw new FrameError(`hello of another shape: ${hello.error.message}`);
    const session = new GatewaySession(hello.data.session, connection, this.#options.session);
    this.#consumer = this.#options.consume(queue, (items) => session.accept(items));
    this.#options.log.info({ session: hello.data.session, queue }, 'connected to the gateway');
    return session;
  }
}
