/**
 * An installation of its own for one test file: the real `fn up` in a process of its own, its folders below /tmp, a free
 * port. `stop` ends it and fails unless nothing of it is left on the machine.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import type { Deployment } from '../../../services/cli/deploy/deploy.ts';
import { readSupervisorStatus, type SupervisorStatus } from '../../../services/cli/supervisor/control.ts';
import type { FunctionConfigInput } from '../../../services/contracts/function.ts';
import type { LogEntry } from '../../../services/contracts/invocation.ts';
import type { PlatformStatus } from '../../../services/contracts/management-api.ts';
import { type Config, parseConfig } from '../../../services/platform/config.ts';
import { type FnOptions, type FnResult, runFn } from '../../unit/cli/run-fn.ts';
import { call } from './call.ts';
import { findContainerGroups, findTraces } from './traces.ts';
import { until } from './until.ts';

const launcher = fileURLToPath(new URL('../../../services/cli/fn', import.meta.url));
const functionsFolder = fileURLToPath(new URL('../../cases/functions', import.meta.url));
const modulesFolder = fileURLToPath(new URL('../../../node_modules', import.meta.url));

/** A platform that serves is up in 1.5 s; on a machine that others use too it may take longer. */
const readyWithinMs = 60_000;
const endedWithinMs = 30_000;
/** Groups that the daemon may have made ahead. */
const mostSpareGroups = 32;

export type FnRun = Partial<Pick<FnOptions, 'cwd' | 'env' | 'input' | 'onStart' | 'onOutput'>>;

export interface Sources {
  /** `fn.json`, or its text. */
  config?: FunctionConfigInput | string;
  files?: Record<string, string>;
  /** Packages to copy from this project's own node_modules. */
  modules?: string[];
}

/** One life of `fn up`. */
interface Supervisor {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** What it printed, for the message of a failure. */
  readonly output: string[];
}

export class Installation {
  /** Short: the paths of sockets end at 107 characters. */
  readonly folder: string;
  readonly environment: Record<string, string>;
  readonly config: Config;
  #supervisor: Supervisor | undefined;
  #folders = 0;
  url = '';

  private constructor(folder: string, environment: Record<string, string>) {
    this.folder = folder;
    this.environment = {
      STOKE_HOME: join(folder, 'home'),
      STOKE_RUN: join(folder, 'run'),
      STOKE_LISTEN: '127.0.0.1:0',
      ...environment,
    };
    this.config = parseConfig(this.environment);
  }

  /** An installation whose platform does not run. */
  static async create(environment: Record<string, string> = {}): Promise<Installation> {
    const folder = await mkdtemp(join(tmpdir(), 'fn-'));
    // The gateway and the worker, which are not root, have to get in.
    await chmod(folder, 0o755);
    return new Installation(folder, environment);
  }

  static async start(environment: Record<string, string> = {}): Promise<Installation> {
    const installation = await Installation.create(environment);
    await installation.up();
    return installation;
  }

  /** Starts `fn up` and waits until it says that calls can be answered. */
  async up(): Promise<void> {
    const child = spawn(launcher, ['up', '--json'], {
      env: { ...cleanEnvironment(), ...this.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const output: string[] = [];
    const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve({ code, signal }));
    });
    const ready = Promise.withResolvers<string>();
    createInterface({ input: child.stdout }).on('line', (line) => {
      output.push(line);
      const event = JSON.parse(line) as { event?: string; url?: string };
      if (event.event === 'ready' && event.url) ready.resolve(event.url);
    });
    createInterface({ input: child.stderr }).on('line', (line) => output.push(line));
    const bound = AbortSignal.timeout(readyWithinMs);
    bound.onabort = () => ready.reject(new Error(`fn up is not ready after ${readyWithinMs} ms`));
    exited.then(({ code, signal }) => ready.reject(new Error(`fn up ended with ${code ?? signal}`)), ready.reject);
    this.#supervisor = { child, pid: child.pid as number, exited, output };
    try {
      this.url = await ready.promise;
    } catch (cause) {
      child.kill('SIGKILL');
      throw new Error(`${(cause as Error).message}; it printed:\n${output.join('\n')}`, { cause });
    } finally {
      bound.onabort = null;
    }
  }

  /** Runs the real command line against this installation. */
  fn(args: string[], options: FnRun = {}): Promise<FnResult> {
    const env = { ...this.environment, ...options.env };
    return runFn(args, { cwd: this.folder, cache: join(this.folder, 'cache'), ...options, env });
  }

  /** @returns what `fn <args> --json` printed; fails unless it ended with 0 */
  async json<T>(args: string[], options: FnRun = {}): Promise<T> {
    const result = await this.fn([...args, '--json'], options);
    expect(result, `fn ${args.join(' ')}`).toMatchObject({ exitCode: 0 });
    return JSON.parse(result.stdout) as T;
  }

  /** A folder below this installation's, with these sources. */
  async write({ config, files = {}, modules = [] }: Sources): Promise<string> {
    const folder = join(this.folder, `source-${this.#folders++}`);
    await mkdir(folder);
    const text = typeof config === 'string' ? config : JSON.stringify(config, undefined, 2);
    const all = config === undefined ? files : { 'fn.json': `${text}\n`, ...files };
    for (const [name, content] of Object.entries(all)) {
      await mkdir(dirname(join(folder, name)), { recursive: true });
      await writeFile(join(folder, name), content);
    }
    for (const name of modules)
      await cp(join(modulesFolder, name), join(folder, 'node_modules', name), { recursive: true });
    return folder;
  }

  /** Deploys a sample of `test/cases/functions/`, or sources written here, with the real `fn deploy`. */
  async deploy(source: string | Sources, ...options: string[]): Promise<Deployment> {
    const folder = typeof source === 'string' ? join(functionsFolder, source) : await this.write(source);
    // npm may need the machine's own certificates to reach its registry.
    const { NODE_EXTRA_CA_CERTS: certificates } = process.env;
    const env: Record<string, string> = certificates ? { NODE_EXTRA_CA_CERTS: certificates } : {};
    return this.json<Deployment>(['deploy', folder, ...options], { env });
  }

  /** The kept output of a function, as `fn logs` shows it. */
  async logs(name: string, ...options: string[]): Promise<LogEntry[]> {
    const { stdout } = await this.fn(['logs', name, '--json', ...options]);
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as LogEntry);
  }

  /** What the log has of one invocation, once `wanted` is in it. */
  async logOf(name: string, id: string, wanted: RegExp): Promise<LogEntry[]> {
    const textOf = (entries: LogEntry[]) => entries.map((entry) => entry.text).join('\n');
    const look = () => this.logs(name, '--invocation', id);
    return until(`the log of ${id} has ${wanted}`, look, (entries) => wanted.test(textOf(entries)));
  }

  /** @returns undefined while no supervisor runs */
  status(): Promise<SupervisorStatus | undefined> {
    return readSupervisorStatus(this.config.sockets.supervisor);
  }

  /** @returns the pid of a process by its name in `fn status` */
  async pid(name: string): Promise<number> {
    const found = (await this.status())?.processes.find((each) => each.name === name);
    if (!found?.pid) throw new Error(`no process "${name}" runs`);
    return found.pid;
  }

  get supervisorPid(): number {
    if (!this.#supervisor) throw new Error('fn up was not started');
    return this.#supervisor.pid;
  }

  /** What the gateway tells of the platform. */
  async platform(): Promise<PlatformStatus> {
    const answer = await call(`${this.url}/api/v1/status`);
    return answer.json<PlatformStatus>();
  }

  /** Waits until every container on the machine is an instance that a worker knows, and no more groups are kept than are made ahead. */
  async expectOnlyKnownContainers(): Promise<void> {
    await until(
      'every container is an instance that the worker knows',
      async () => {
        const { workers } = await this.platform();
        const known = new Set(workers.flatMap(({ instances }) => instances.map(({ pid }) => pid)));
        const groups = findContainerGroups(this.config);
        const stray = groups.filter(({ pids }) => pids.length > 0 && !pids.some((pid) => known.has(pid)));
        return { stray, empty: groups.filter(({ pids }) => pids.length === 0).length, workers: workers.length };
      },
      ({ stray, empty, workers }) => stray.length === 0 && empty <= mostSpareGroups && workers === 1,
    );
  }

  /** How the supervisor ended. */
  async exited(): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    if (!this.#supervisor) throw new Error('fn up was not started');
    return this.#supervisor.exited;
  }

  /** Ends the platform as Ctrl-C does, and asserts that nothing of it is left; the folders remain. */
  async down(): Promise<void> {
    const supervisor = this.#supervisor;
    this.#supervisor = undefined;
    if (supervisor) {
      supervisor.child.kill('SIGINT');
      const bound = setTimeout(() => supervisor.child.kill('SIGKILL'), endedWithinMs);
      const exit = await supervisor.exited;
      clearTimeout(bound);
      expect(exit, supervisor.output.join('\n')).toEqual({ code: 0, signal: null });
    }
    expect(findTraces(this.config)).toEqual([]);
  }

  /** Ends it all. */
  async stop(): Promise<void> {
    try {
      await this.down();
    } finally {
      await rm(this.folder, { recursive: true, force: true });
    }
  }
}

/** Of the machine's environment: NODE_EXTRA_CA_CERTS slows every Node down, and vitest's own variables are not a user's. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const { NODE_EXTRA_CA_CERTS: _, NODE_ENV: _env, NODE_OPTIONS: _options, ...rest } = process.env;
  return rest;
}
