/** The worker's side of the tests: an agent in a process of its own, spoken to over a unix socket in frames. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { AgentSettings, InstanceReady } from '../../../services/contracts/agent.ts';
import type { ErrorBody } from '../../../services/contracts/errors.ts';
import {
  decodeHeadAndBody,
  decodeJson,
  decodeWindow,
  encodeFrame,
  encodeHeadAndBody,
  encodeWindow,
  type FrameName,
  FrameReader,
  frameTypes,
} from '../../../services/contracts/frames.ts';
import type { AnswerHead, InstanceRequest } from '../../../services/contracts/invocation.ts';

const project = join(import.meta.dirname, '../../..');
const node = join(project, 'node_modules/.bin/node');

export interface Received {
  name: FrameName;
  stream: number;
  payload: Buffer;
}

export interface Outcome {
  head: AnswerHead | undefined;
  body: Buffer;
  error: ErrorBody | undefined;
  stdout: string;
  stderr: string;
  /** Names of its frames, in order, logs left out. */
  frames: FrameName[];
}

const names = Object.fromEntries(Object.entries(frameTypes).map(([name, type]) => [type, name as FrameName]));
const running = new Set<RunningAgent>();

/** Ends every agent that a test started. */
export async function endAgents(): Promise<void> {
  await Promise.all([...running].map((agent) => agent.kill()));
}

/** @param folder name below test/cases/agent, or an absolute path */
export function startAgent(folder: string, settings: Partial<AgentSettings> = {}, warm = false): RunningAgent {
  const agent = new RunningAgent(
    join(folder.startsWith('/') ? '' : join(project, 'test/cases/agent'), folder),
    settings,
    warm,
  );
  running.add(agent);
  return agent;
}

export class RunningAgent {
  readonly received: Received[] = [];
  /** Raw output of the process, past the agent. */
  raw = '';
  /** Gives back what it receives as credit, as a worker with a quick caller does. */
  grants = true;
  readonly exited: Promise<number | null>;
  readonly socket: Socket;
  readonly #child: ChildProcess;
  readonly #waiting = new Set<() => void>();
  #lastStream = 0;

  constructor(root: string, settings: Partial<AgentSettings>, warm: boolean) {
    const full: AgentSettings = {
      function: 'sample',
      version: 7,
      entry: 'index.js',
      stripped: false,
      memoryBytes: 128 * 1024 * 1024,
      concurrency: 1,
      timeoutMs: 30_000,
      ...settings,
    };
    const program = join(import.meta.dirname, 'serve-process.ts');
    this.#child = spawn(node, [program, root, JSON.stringify(full), warm ? 'warm' : 'cold'], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      env: { PATH: process.env.PATH },
    });
    this.exited = once(this.#child, 'close').then(([code]) => code as number | null);
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream?.on('data', (text) => (this.raw += text));
    this.socket = this.#child.stdio[3] as Socket;
    this.socket.on('error', () => this.socket.destroy());
    const reader = new FrameReader();
    this.socket.on('data', (chunk) => {
      reader.push(chunk, ({ type, stream, payload }) => {
        const name = names[type] as FrameName;
        this.received.push({ name, stream, payload: Buffer.from(payload) });
        if (name === 'data' && this.grants) this.send('window', stream, encodeWindow(payload.byteLength));
      });
      for (const check of this.#waiting) check();
    });
    this.exited.then(() => {
      for (const check of this.#waiting) check();
    });
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  send(name: FrameName, stream: number, payload: Uint8Array | string = ''): void {
    this.socket.write(encodeFrame(frameTypes[name], stream, payload));
  }

  /** Resolves once `find` finds something; fails when the process has ended and it still does not. */
  async until<T>(what: string, find: () => T | undefined): Promise<T> {
    let ended = false;
    this.exited.then(() => {
      ended = true;
    });
    for (;;) {
      const found = find();
      if (found !== undefined) return found;
      if (ended) throw new Error(`the agent ended without ${what}; it printed ${JSON.stringify(this.raw)}`);
      await new Promise<void>((resolve) => {
        const check = () => {
          this.#waiting.delete(check);
          resolve();
        };
        this.#waiting.add(check);
      });
    }
  }

  frame(name: FrameName, stream: number): Promise<Received> {
    return this.until(`${name} of stream ${stream}`, () =>
      this.received.find((one) => one.name === name && one.stream === stream),
    );
  }

  async ready(): Promise<InstanceReady> {
    const first = await this.until('ready or failed', () =>
      this.received.find(({ name }) => name === 'ready' || name === 'failed'),
    );
    if (first.name === 'failed') throw new Error(`failed: ${first.payload}`);
    return decodeJson(first.payload) as InstanceReady;
  }

  async failed(): Promise<ErrorBody> {
    return decodeJson((await this.frame('failed', 0)).payload) as ErrorBody;
  }

  /** Sends a request. @returns its stream */
  request(request: Partial<InstanceRequest> = {}, body: Uint8Array | string = ''): number {
    const stream = ++this.#lastStream;
    const full: InstanceRequest = {
      id: `invocation-${stream}`,
      method: body.length > 0 ? 'POST' : 'GET',
      path: '/',
      headers: ['host', 'functions.test'],
      deadlineMs: Date.now() + 30_000,
      streamed: false,
      ...request,
    };
    this.send('request', stream, encodeHeadAndBody(JSON.stringify(full), Buffer.from(body)));
    return stream;
  }

  /** What became of a stream, once it is settled. */
  async settled(stream: number): Promise<Outcome> {
    await this.frame('settled', stream);
    return this.outcome(stream);
  }

  async call(request: Partial<InstanceRequest> = {}, body: Uint8Array | string = ''): Promise<Outcome> {
    return this.settled(this.request(request, body));
  }

  /** What there is of a stream by now. */
  outcome(stream: number): Outcome {
    const own = this.received.filter((one) => one.stream === stream);
    const text = (fd: number) =>
      Buffer.concat(
        own.filter((one) => one.name === 'log' && one.payload[0] === fd).map((one) => one.payload.subarray(1)),
      );
    const error = own.find(({ name }) => name === 'error');
    const head = own.find(({ name }) => name === 'head');
    const parts = head ? decodeHeadAndBody(head.payload) : undefined;
    const data = own.filter(({ name }) => name === 'data').map(({ payload }) => payload);
    return {
      head: parts?.head as AnswerHead | undefined,
      body: Buffer.concat([...(parts ? [parts.body] : []), ...data]),
      error: error ? (decodeJson(error.payload) as ErrorBody) : undefined,
      stdout: text(1).toString(),
      stderr: text(2).toString(),
      frames: own.map(({ name }) => name).filter((name) => name !== 'log'),
    };
  }

  /** Credit that the agent has granted for a request body. */
  granted(stream: number): number {
    const windows = this.received.filter((one) => one.name === 'window' && one.stream === stream);
    return windows.reduce((sum, { payload }) => sum + decodeWindow(payload), 0);
  }

  async kill(): Promise<void> {
    running.delete(this);
    this.#child.kill('SIGKILL');
    await this.exited;
  }
}
