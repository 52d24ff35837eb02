/** Stands in for the daemon in the worker's tests: its API over a unix socket, with plain processes for containers. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createInterface } from 'node:readline';
import {
  type ContainerExit,
  type ContainerRequest,
  type SessionEvent,
  type SessionRequest,
  sessionCommandSchema,
  sessionRequestSchema,
} from '../../../services/contracts/daemon-api.ts';
import type { ErrorBody } from '../../../services/contracts/errors.ts';

const program = new URL('./fake-instance.ts', import.meta.url).pathname;

interface FakeContainer {
  child: ChildProcess;
  request: ContainerRequest;
  exit: Promise<ContainerExit>;
}

export class FakeDaemon {
  readonly containers = new Map<string, FakeContainer>();
  readonly requests: ContainerRequest[] = [];
  readonly sessions: SessionRequest[] = [];
  readonly removed: string[] = [];
  /** Answered to the next starts instead of starting. */
  refuseWith: ErrorBody | undefined;
  /** What every exit says of memory. */
  outOfMemory = false;
  readonly #path: string;
  #server: Server | undefined;
  #streams = new Set<ServerResponse>();

  constructor(path: string) {
    this.#path = path;
  }

  get alive(): number {
    return this.containers.size;
  }

  async listen(): Promise<void> {
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ECONNRESET') throw error; // the worker went away
      });
    });
    this.#server.listen(this.#path);
    await once(this.#server, 'listening');
  }

  /** As a daemon that dies: connections break, its containers die with it. */
  async crash(): Promise<void> {
    const exits = [...this.containers.values()].map(({ child, exit }) => {
      child.kill('SIGKILL');
      return exit;
    });
    this.#server?.closeAllConnections();
    await Promise.all([new Promise((resolve) => this.#server?.close(resolve)), ...exits]);
    this.containers.clear();
  }

  /** Breaks the sessions and nothing else. */
  endSessions(): void {
    for (const stream of this.#streams) stream.end();
  }

  kill(id: string): void {
    this.containers.get(id)?.child.kill('SIGKILL');
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url === '/v1/sessions') return this.#session(request, response);
    return this.#remove((request.url ?? '').split('/').at(-1) ?? '', response);
  }

  async #session(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#streams.add(response);
    response.on('close', () => this.#streams.delete(response));
    let attached = false;
    for await (const line of createInterface({ input: request })) {
      const json: unknown = JSON.parse(line);
      if (attached) this.#create(sessionCommandSchema.parse(json).container, response);
      else this.#attach(sessionRequestSchema.parse(json), response);
      attached = true;
    }
  }

  #attach(request: SessionRequest, response: ServerResponse): void {
    this.sessions.push(request);
    const removed = [...this.containers.keys()].filter((id) => !request.holds.includes(id));
    for (const id of removed) this.kill(id);
    tell(response, { type: 'attached', removed });
  }

  #create(request: ContainerRequest, response: ServerResponse): void {
    this.requests.push(request);
    if (this.refuseWith) {
      tell(response, { type: 'refused', id: request.id, error: this.refuseWith });
      return;
    }
    const child = spawn(process.execPath, [program, JSON.stringify(request)], { stdio: 'inherit', env: {} });
    const exit = once(child, 'exit').then(([code, signal]) => {
      const exited = this.#exit(request, code as number | null, signal as string | null);
      for (const stream of this.#streams) tell(stream, { type: 'exited', exit: exited });
      return exited;
    });
    this.containers.set(request.id, { child, request, exit });
    tell(response, { type: 'started', started: { id: request.id, pid: child.pid ?? 0, phases: {} } });
  }

  async #remove(id: string, response: ServerResponse): Promise<void> {
    const container = this.containers.get(id);
    const error: ErrorBody = { code: 'container_not_found', message: `no container "${id}"` };
    if (!container) return send(response, 404, { error });
    this.removed.push(id);
    container.child.kill('SIGKILL');
    const exit = await container.exit;
    this.containers.delete(id);
    return send(response, 200, exit);
  }

  #exit(request: ContainerRequest, code: number | null, signal: string | null): ContainerExit {
    const memoryLimitBytes = request.limits.memoryBytes;
    const memoryPeakBytes = this.outOfMemory ? memoryLimitBytes : null;
    const { outOfMemory } = this;
    return { id: request.id, code, signal, outOfMemory, memoryPeakBytes, memoryLimitBytes, cpuMicroseconds: null };
  }
}

function tell(response: ServerResponse, event: SessionEvent): void {
  response.write(`${JSON.stringify(event)}\n`);
}

function send(response: ServerResponse, status: number, json: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(json));
}
