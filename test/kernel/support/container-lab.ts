/** A runtime of its own for one test file: control groups, a zygote with the probe agent, a small image, and a clean-up that checks. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { openHierarchy } from '../../../runtime/cgroup/hierarchy.ts';
import { type ContainerEnd, type ContainerOptions, Containers } from '../../../runtime/container/containers.ts';
import { ContainerStore } from '../../../runtime/container/store.ts';
import { ZygoteKeeper } from '../../../runtime/zygote/keeper.ts';

export type Overrides = Partial<Omit<ContainerOptions, 'limits'>> & { limits?: Partial<ContainerOptions['limits']> };

/** A container under test: code runs in it by `run`. */
export interface Subject {
  readonly id: string;
  readonly pid: number;
  readonly phases: Readonly<Record<string, number>>;
  /** Runs the body of an async function with `require`; resolves with its JSON value, rejects with its error's code. */
  run<T = unknown>(code: string): Promise<T>;
  /** What it wrote to stdout and stderr so far. */
  readonly output: { 1: string; 2: string };
}

export class ContainerLab {
  readonly directory = mkdtempSync(join(tmpdir(), 'stoke-lab-'));
  readonly hierarchy = openHierarchy(`stoke-lab-${process.pid}-${Math.trunc(performance.now())}`);
  readonly image = join(this.directory, 'image');
  readonly ends = new Map<string, ContainerEnd>();
  /** Ids of containers whose record could not be written. */
  readonly unrecorded: string[] = [];
  readonly #server: Server;
  readonly #arrivals = new Map<string, (channel: string, socket: Socket) => void>();
  readonly #onEnd = new Map<string, (end: ContainerEnd) => void>();
  #count = 0;
  containers: Containers;
  zygote: ZygoteKeeper;

  private constructor() {
    for (const path of ['proc', 'sys', 'dev', 'tmp', 'etc', 'var/task'])
      mkdirSync(join(this.image, path), { recursive: true });
    writeFileSync(join(this.image, 'etc/hostname'), 'image\n');
    mkdirSync(join(this.directory, 'run'));
    this.#server = createServer((socket) => this.#greet(socket));
    this.containers = this.openContainers();
    this.zygote = this.launchZygote();
  }

  static async open(): Promise<ContainerLab> {
    const lab = new ContainerLab();
    await new Promise<void>((resolve) => lab.#server.listen(lab.socket, resolve));
    await lab.zygote.ready();
    return lab;
  }

  get socket(): string {
    return join(this.directory, 'run/lab.sock');
  }

  openContainers(): Containers {
    return new Containers({
      hierarchy: this.hierarchy,
      store: new ContainerStore(join(this.directory, 'run/containers')),
      uidBase: 300_000,
      onUnrecorded: (id) => this.unrecorded.push(id),
      onExit: (_, end) => {
        this.ends.set(end.id, end);
        this.#onEnd.get(end.id)?.(end);
      },
    });
  }

  launchZygote(): ZygoteKeeper {
    return new ZygoteKeeper({
      directory: join(this.directory, 'run/zygotes'),
      config: {
        agent: join(import.meta.dirname, 'probe-agent.ts'),
        binds: [this.directory, ...this.hierarchy.directories],
        spareNetworks: 2,
      },
    });
  }

  options(overrides: Overrides = {}): ContainerOptions {
    const id = overrides.id ?? `c${++this.#count}`;
    const connection = (as: 'control' | 1 | 2) => ({
      socket: this.socket,
      as,
      greeting: Buffer.from(`${id} ${as}\n`).toString('base64'),
    });
    return {
      id,
      owner: 'lab',
      image: 'sha256:lab',
      network: 'lab',
      hostname: 'lab',
      rootfs: { layers: [this.image], tmpBytes: 16 << 20, scratchBytes: 4 << 20 },
      openFiles: 256,
      environment: { PATH: '/usr/local/bin:/usr/bin:/bin' },
      workingDirectory: '/var/task',
      connections: [connection('control'), connection(1), connection(2)],
      payload: { kind: 'serve', settings: {} },
      ...overrides,
      limits: { memoryBytes: 128 << 20, cpu: 1, pids: 64, ...overrides.limits },
    };
  }

  async start(overrides: Overrides = {}): Promise<Subject> {
    const options = this.options(overrides);
    const control = Promise.withResolvers<Socket>();
    const output = { 1: '', 2: '' };
    this.#arrivals.set(options.id, (channel, socket) => {
      if (channel === 'control') control.resolve(socket);
      else socket.on('data', (chunk) => (output[Number(channel) as 1 | 2] += chunk));
    });
    const launched = await this.containers.start(options, this.zygote);
    const run = options.payload.kind === 'serve' ? runner(await control.promise) : refuse;
    return { id: options.id, ...launched, run, output };
  }

  /** A container that becomes a busybox applet. */
  startProgram(args: readonly string[], overrides: Overrides = {}): Promise<Subject> {
    const path = '/usr/bin/busybox';
    const programs = join(this.directory, 'programs');
    mkdirSync(join(programs, 'usr/bin'), { recursive: true });
    copyFileSync('/bin/busybox', join(programs, path));
    return this.start({
      rootfs: { layers: [this.image, programs], tmpBytes: 1 << 20, scratchBytes: 1 << 20 },
      payload: { kind: 'exec', path, args },
      ...overrides,
    });
  }

  /** How a container ended, by itself. */
  ended(id: string): Promise<ContainerEnd> {
    const known = this.ends.get(id);
    return known ? Promise.resolve(known) : new Promise((resolve) => this.#onEnd.set(id, resolve));
  }

  /** Ends everything and checks that nothing is left. */
  async close(): Promise<void> {
    await this.containers.close();
    await this.zygote.close();
    this.#server.close();
    const groups = this.hierarchy.directories.flatMap((parent) =>
      readdirSync(parent, { withFileTypes: true }).filter((entry) => entry.isDirectory()),
    );
    for (const directory of this.hierarchy.directories) rmdirSync(directory);
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(this.directory));
    const zygotes = readdirSync(join(this.directory, 'run/zygotes'));
    const records = readdirSync(join(this.directory, 'run/containers'));
    const processes = processesWithRoot(this.directory);
    rmSync(this.directory, { recursive: true, force: true });
    expect({ groups, mounts, zygotes, records, processes }).toEqual({
      groups: [],
      mounts: [],
      zygotes: [],
      records: [],
      processes: [],
    });
  }

  #greet(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    socket.once('data', (chunk: Buffer) => {
      const end = chunk.indexOf(10);
      const [id = '', channel = ''] = chunk.toString('utf8', 0, end).split(' ');
      const rest = chunk.subarray(end + 1);
      if (rest.byteLength > 0) socket.unshift(rest);
      this.#arrivals.get(id)?.(channel, socket);
    });
  }
}

function refuse(): Promise<never> {
  return Promise.reject(new Error('this container runs another program'));
}

function runner(socket: Socket): Subject['run'] {
  const waiting = new Map<number, PromiseWithResolvers<never>>();
  let next = 0;
  let text = '';
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    text += chunk;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const answer = JSON.parse(text.slice(0, end)) as { id: number; value?: never; error?: string };
      text = text.slice(end + 1);
      if (answer.error === undefined) waiting.get(answer.id)?.resolve(answer.value as never);
      else waiting.get(answer.id)?.reject(new Error(answer.error));
      waiting.delete(answer.id);
    }
  });
  socket.on('close', () => {
    for (const call of waiting.values()) call.reject(new Error('the container ended'));
  });
  return (code) => {
    const call = Promise.withResolvers<never>();
    waiting.set(++next, call);
    socket.write(`${JSON.stringify({ id: next, code })}\n`);
    return call.promise;
  };
}

/** Pids of processes whose command line names the directory: zygotes and what they forked. */
function processesWithRoot(directory: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid || !existsSync(`/proc/${pid}/cmdline`)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(directory);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ESRCH' || (error as NodeJS.ErrnoException).code === 'ENOENT')
        return false;
      throw error;
    }
  });
}
