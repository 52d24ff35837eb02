/** One session's connection: reads its lines, starts what they ask for, writes what happens. Protocol: `contracts/daemon-api.ts`. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createInterface } from 'node:readline';
import type { z } from 'zod';
import type { Containers, ImageStore } from '../../runtime/index.ts';
import {
  type ContainerRequest,
  type ContainerStarted,
  type SessionEvent,
  sessionCommandSchema,
  sessionRequestSchema,
} from '../contracts/daemon-api.ts';
import { StokeError, toErrorBody } from '../contracts/errors.ts';
import { describeIssues } from '../contracts/function.ts';
import type { Log } from '../platform/log.ts';
import { planLaunch } from './container-launch.ts';
import { toApiError } from './errors.ts';
import type { Runtimes } from './runtimes.ts';
import type { Sessions } from './sessions.ts';

export interface SessionDependencies {
  readonly containers: Containers;
  readonly store: ImageStore;
  readonly sessions: Sessions;
  readonly runtimes: () => Runtimes;
  readonly log: Log;
}

/** Serves it until either side ends it. A line that breaks the protocol ends it, and with it the owner's containers. */
export function serveSession(incoming: IncomingMessage, outgoing: ServerResponse, deps: SessionDependencies): void {
  const session = new SessionConnection(incoming, outgoing, deps);
  session.run().catch((error: unknown) => {
    // A connection that breaks in the middle of a line is an end like any other.
    if (!incoming.destroyed || error instanceof StokeError) deps.log.warn({ err: error }, 'session ended');
    outgoing.destroy();
  });
}

class SessionConnection {
  readonly #incoming: IncomingMessage;
  readonly #outgoing: ServerResponse;
  readonly #deps: SessionDependencies;
  #owner = '';

  constructor(incoming: IncomingMessage, outgoing: ServerResponse, deps: SessionDependencies) {
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    this.#deps = deps;
  }

  async run(): Promise<void> {
    this.#outgoing.writeHead(200, { 'content-type': 'application/x-ndjson' });
    let onClosed: (() => void) | undefined;
    this.#outgoing.on('close', () => onClosed?.());
    // The owner was killed: an end like any other, told by `close`.
    this.#incoming.on('error', () => this.#outgoing.destroy());
    for await (const line of createInterface({ input: this.#incoming })) {
      const json: unknown = parseLine(line);
      if (onClosed) {
        this.#start(check(sessionCommandSchema, json).container);
        continue;
      }
      const request = check(sessionRequestSchema, json);
      this.#owner = request.owner;
      const send = (event: SessionEvent) => this.#send(event);
      onClosed = await this.#deps.sessions.open(request, { send, end: () => this.#outgoing.end() });
      if (this.#outgoing.closed) onClosed();
    }
    this.#outgoing.end();
  }

  #start(request: ContainerRequest): void {
    this.#startContainer(request).then(
      (started) => this.#send({ type: 'started', started }),
      (error: unknown) => {
        const known = toApiError(error);
        if (!(known instanceof StokeError)) this.#deps.log.error({ err: error, id: request.id }, 'a start failed');
        this.#send({ type: 'refused', id: request.id, error: toErrorBody(known) });
      },
    );
  }

  async #startContainer(request: ContainerRequest): Promise<ContainerStarted> {
    const { store, containers, runtimes } = this.#deps;
    if (request.owner !== this.#owner)
      throw new StokeError('invalid_request', `owner "${request.owner}" in a session of "${this.#owner}"`);
    const runtime = runtimes().get(request.runtime);
    if (!runtime) throw new StokeError('unavailable', `runtime "${request.runtime}" is still starting`);
    const image = store.resolved(request.image) ?? (await store.resolve(request.image));
    const { pid, phases } = await containers.start(planLaunch(request, image), runtime.zygote);
    return { id: request.id, pid, phases };
  }

  #send(event: SessionEvent): void {
    if (!this.#outgoing.destroyed) this.#outgoing.write(`${JSON.stringify(event)}\n`);
  }
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new StokeError('invalid_request', `a line of the session is not JSON: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function check<T extends z.ZodType>(schema: T, value: unknown): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new StokeError('invalid_request', describeIssues(parsed.error));
}
