/**
 * One zygote process, as the daemon sees it: starts it, sends commands, matches reports to starts.
 * A start that the zygote did not get to before it ended can be given to another; one that was forked goes on by itself.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { RuntimeError } from '../errors.ts';
import {
  encodeMessage,
  type FromZygote,
  type LaunchSpec,
  MessageReader,
  type ToZygote,
  type ZygoteConfig,
} from './protocol.ts';

export interface Launched {
  readonly pid: number;
  /** Milliseconds by step, from fork to sealed. */
  readonly phases: Readonly<Record<string, number>>;
}

/** The zygote ended before it forked for this start: nothing of the start exists. */
export class NotForkedError extends Error {
  override name = 'NotForkedError';
}

interface PendingStart {
  readonly resolve: (launched: Launched) => void;
  readonly reject: (error: Error) => void;
  readonly onForked: (pid: number) => void;
  pid?: number;
  phases?: Readonly<Record<string, number>>;
}

export class Zygote {
  readonly #process: ChildProcess;
  readonly #pending = new Map<string, PendingStart>();
  readonly #directory: string;
  #lastWords = '';
  #exited = false;
  #onReady: (() => void) | undefined;
  /** Resolves when it takes commands; rejects when it ends before. */
  readonly ready: Promise<void>;
  /** Resolves with the reason when the process has ended. */
  readonly exited: Promise<string>;

  /** @param directory where it may make a folder for itself, for its modules and its root */
  constructor(directory: string, config: Omit<ZygoteConfig, 'stage'>) {
    mkdirSync(directory, { recursive: true });
    this.#directory = mkdtempSync(join(directory, 'zygote-'));
    const stage = join(this.#directory, 'stage');
    mkdirSync(stage);
    const launch = join(import.meta.dirname, 'launch.ts');
    const zygoteConfig: ZygoteConfig = { ...config, stage };
    this.#process = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', launch, join(this.#directory, 'modules'), JSON.stringify(zygoteConfig)],
      {
        stdio: ['pipe', 'pipe', 'pipe'],
        env: { PATH: '/usr/local/bin:/usr/bin:/bin' },
      },
    );
    const reader = new MessageReader<FromZygote>();
    const stdout = this.#process.stdout as Readable;
    stdout.on('data', (chunk: Buffer) => {
      for (const message of reader.push(chunk)) this.#receive(message);
    });
    // The last holder of the pipe is gone: a child that was forked and not sealed will not be any more.
    stdout.on('close', () => this.#failPending(true));
    this.#process.stderr?.on('data', (chunk: Buffer) => {
      this.#lastWords = (this.#lastWords + chunk.toString('utf8')).slice(-4096);
    });
    (this.#process.stdin as Writable).on('error', () => undefined); // its end is told by `exit`
    this.exited = new Promise((resolve) => {
      this.#process.on('error', (error) => resolve(error.message));
      this.#process.on('exit', (code, signal) => resolve(signal ?? `exit status ${code}`));
    }).then((reason) => this.#end(String(reason)));
    this.ready = new Promise((resolve, reject) => {
      this.#onReady = resolve;
      void this.exited.then((reason) => reject(new RuntimeError('zygote_failed', `zygote ended: ${reason}`)));
    });
    this.ready.catch(() => undefined); // who waits for it is told; nobody has to
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  get alive(): boolean {
    return !this.#exited;
  }

  /**
   * Forks a container.
   * @param onForked called with the pid as soon as there is a process
   * @returns when it is sealed
   * @throws RuntimeError `start_failed` that names the step; NotForkedError when the zygote ended first
   */
  start(spec: LaunchSpec, onForked: (pid: number) => void): Promise<Launched> {
    if (this.#exited) return Promise.reject(new NotForkedError());
    return new Promise((resolve, reject) => {
      this.#pending.set(spec.id, { resolve, reject, onForked });
      this.#send({ type: 'start', spec });
    });
  }

  /** Has the key's network namespace ready. */
  prepareNetwork(key: string): void {
    this.#send({ type: 'network', key });
  }

  dropNetwork(key: string): void {
    this.#send({ type: 'drop-network', key });
  }

  /** A container ended before it was sealed and without a report. */
  childExited(id: string, reason: string): void {
    const start = this.#pending.get(id);
    this.#pending.delete(id);
    start?.reject(new RuntimeError('start_failed', `container ended while starting: ${reason}`));
  }

  /** Ends it; containers go on. */
  async close(): Promise<void> {
    this.#process.stdin?.end();
    await this.exited;
  }

  #send(message: ToZygote): void {
    if (!this.#exited) this.#process.stdin?.write(encodeMessage(message));
  }

  #receive(message: FromZygote): void {
    if (message.type === 'ready') {
      this.#onReady?.();
      return;
    }
    const start = this.#pending.get(message.id);
    if (start === undefined) return; // given up in the meantime
    if (message.type === 'forked') {
      start.pid = message.pid;
      start.onForked(message.pid);
    } else if (message.type === 'sealed') start.phases = message.phases;
    else {
      this.#pending.delete(message.id);
      const details = { step: message.step };
      start.reject(
        new RuntimeError('start_failed', `container start failed ${message.step}: ${message.message}`, { details }),
      );
      return;
    }
    if (start.pid === undefined || start.phases === undefined) return;
    this.#pending.delete(message.id);
    start.resolve({ pid: start.pid, phases: start.phases });
  }

  #end(reason: string): string {
    this.#exited = true;
    this.#failPending(false);
    rmSync(this.#directory, { recursive: true, force: true });
    const words = this.#lastWords.trim();
    return words === '' ? reason : `${reason}: ${words}`;
  }

  #failPending(forkedToo: boolean): void {
    for (const [id, start] of this.#pending) {
      if (start.pid !== undefined && !forkedToo) continue;
      this.#pending.delete(id);
      const lost = new RuntimeError('start_failed', 'container was lost with the zygote while it started');
      start.reject(start.pid === undefined ? new NotForkedError() : lost);
    }
  }
}
