/**
 * The supervisor: takes the lock, ends what an earlier run left, starts the processes stage by stage, keeps them alive,
 * and stops them in the opposite order. It is the only writer of `<run>/processes.json` and `<run>/gateway.json`.
 */
import { renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Config } from '../../platform/config.ts';
import type { User } from '../../platform/user.ts';
import { type SupervisorStatus, serveControl } from './control.ts';
import { directoryPlan, makeDirectories } from './directories.ts';
import { acquireLock } from './lock.ts';
import { ManagedProcess } from './managed-process.ts';
import type { ProcessEvent } from './process-events.ts';
import type { ProcessSpec } from './process-table.ts';
import { endSurvivors, type ProcessRecord, readStartTime, writeRecords } from './survivors.ts';

export type SupervisorEvent =
  | ProcessEvent
  | { event: 'survivors'; processes: readonly ProcessRecord[] }
  | { event: 'stopping'; reason: string };

export interface SupervisorOptions {
  readonly config: Config;
  readonly user: User;
  /** See `processTable`. */
  readonly stages: readonly (readonly ProcessSpec[])[];
  readonly onEvent: (event: SupervisorEvent) => void;
}

/** Somebody asked for the end before everything was ready. */
export class ShutdownError extends Error {
  override name = 'ShutdownError';
}

/** Survivors have noticed the supervisor's end and are on their way out. */
const survivorBoundMs = 11_000;
const readyzBoundMs = 15_000;
const readyzAgainMs = 25;

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #processes: ManagedProcess[][];
  readonly #undo = new AsyncDisposableStack();
  /** Aborted with the reason when the end begins. */
  readonly #shutdown = new AbortController();
  /** Aborted when even the end takes too long for whoever waits. */
  readonly #hurry = new AbortController();
  readonly #startedAt = performance.now();
  #ready = false;
  #url: string | null = null;
  #closing: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    const { config, stages } = options;
    this.#processes = stages.map((stage) =>
      stage.map((spec) => new ManagedProcess(spec, `${config.home}/logs/${spec.name}.log`, (event) => this.#on(event))),
    );
  }

  /**
   * Brings everything up.
   * @returns the gateway's URL, once it says that calls can be answered
   * @throws LockedError, GaveUpError, or ShutdownError when `shutdown` was called meanwhile; nothing is left running
   */
  async start(): Promise<string> {
    try {
      const url = await this.#start();
      // From here on the end begins when it is asked for; whoever awaits `ended` hears how it went.
      this.ended().catch(() => undefined);
      return url;
    } catch (error) {
      this.shutdown('the start failed');
      await this.ended();
      throw error;
    }
  }

  /** Begins the end. After the first call nothing happens. */
  shutdown(reason: string): void {
    if (!this.#shutdown.signal.aborted) this.#shutdown.abort(new ShutdownError(reason));
  }

  /** Aborted when the end begins. */
  get ending(): AbortSignal {
    return this.#shutdown.signal;
  }

  /** Makes an end that has begun quick: what still runs is killed. */
  hurry(): void {
    this.#hurry.abort();
  }

  /** @returns when shutdown was asked for and everything is gone */
  async ended(): Promise<void> {
    await rejection(this.#shutdown.signal).catch(() => undefined);
    this.#closing ??= this.#close();
    await this.#closing;
  }

  status(): SupervisorStatus {
    const { home, run } = this.#options.config;
    return {
      pid: process.pid,
      state: this.#shutdown.signal.aborted ? 'stopping' : this.#ready ? 'ready' : 'starting',
      url: this.#url,
      home,
      run,
      uptimeMs: Math.round(performance.now() - this.#startedAt),
      processes: this.#processes.flat().map((each) => each.status()),
    };
  }

  async #start(): Promise<string> {
    const { config, user, onEvent } = this.#options;
    const lock = await acquireLock(config);
    this.#undo.defer(() => lock.release());
    this.#undo.defer(() => this.#removeRunFiles());
    makeDirectories(directoryPlan(config, user));

    const survivors = await endSurvivors(this.#recordFile, survivorBoundMs);
    if (survivors.length > 0) onEvent({ event: 'survivors', processes: survivors });
    const control = await serveControl(config.sockets.supervisor, this);
    this.#undo.defer(() => control.close());

    for (const stage of this.#processes) {
      this.#shutdown.signal.throwIfAborted();
      this.#undo.defer(() => this.#stop(stage));
      await Promise.race([Promise.all(stage.map((each) => each.start())), rejection(this.#shutdown.signal)]);
    }
    if (this.#url === null) throw new Error('no process said where the gateway listens');
    await this.#waitUntilReady(this.#url);
    this.#ready = true;
    return this.#url;
  }

  /** Ready is what a probe just confirmed. */
  async #waitUntilReady(url: string): Promise<void> {
    const deadline = performance.now() + readyzBoundMs;
    for (;;) {
      const found = await probe(`${url}/readyz`, this.#shutdown.signal);
      this.#shutdown.signal.throwIfAborted();
      if (found === 'ready') return;
      if (performance.now() > deadline) {
        throw new Error(`all processes run, but the gateway is not ready after ${readyzBoundMs} ms: ${found}`);
      }
      await delay(readyzAgainMs);
    }
  }

  #on(event: ProcessEvent): void {
    if (event.event === 'started' || event.event === 'exited') this.#record();
    if (event.event === 'ready' && event.name === 'gateway') this.#publish(event.info);
    // On the way up and down one process misses another for a moment, and says so; its log has it.
    if (event.event === 'logged' && event.level === 'warn' && this.status().state !== 'ready') return;
    this.#options.onEvent(event);
  }

  /** Written the moment a process exists: the next supervisor must find it, whatever happens to this one. */
  #record(): void {
    const records: ProcessRecord[] = [];
    for (const each of this.#processes.flat()) {
      const startTime = each.pid === undefined ? undefined : readStartTime(each.pid);
      if (each.pid !== undefined && startTime) records.push({ name: each.spec.name, pid: each.pid, startTime });
    }
    writeRecords(this.#recordFile, records);
  }

  /** Where the command line looks for the gateway. */
  #publish(info: Record<string, unknown>): void {
    this.#url = gatewayUrl(String(info.host), Number(info.port));
    const file = `${this.#options.config.run}/gateway.json`;
    writeFileSync(`${file}.new`, `${JSON.stringify({ url: this.#url })}\n`, { mode: 0o644 });
    renameSync(`${file}.new`, file);
  }

  get #recordFile(): string {
    return `${this.#options.config.run}/processes.json`;
  }

  async #close(): Promise<void> {
    const { message } = this.#shutdown.signal.reason as ShutdownError;
    const running = this.#processes.flat().some((each) => each.pid !== undefined);
    if (running) this.#options.onEvent({ event: 'stopping', reason: message });
    await this.#stop(this.#processes.flat().filter((each) => each.spec.endsFirst));
    await this.#undo.disposeAsync();
  }

  async #stop(processes: readonly ManagedProcess[]): Promise<void> {
    await Promise.all(processes.map((each) => each.stop(this.#hurry.signal)));
  }

  /** What does not survive the run, and the folder when nothing else is in it. */
  #removeRunFiles(): void {
    const { run, sockets } = this.#options.config;
    const files = [...Object.values(sockets), this.#recordFile, `${run}/gateway.json`];
    for (const file of files) rmSync(file, { force: true });
    rmSync(`${run}/redis`, { recursive: true, force: true });
    try {
      rmdirSync(run);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // Another process's file, or a mount point: theirs to remove.
      if (code !== 'ENOTEMPTY' && code !== 'EBUSY') throw error;
    }
  }
}

/** An address to connect to; one that listens everywhere is reached on the loopback. */
export function gatewayUrl(host: string, port: number): string {
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}

/** @returns `ready`, or what it was instead */
async function probe(url: string, signal: AbortSignal): Promise<string> {
  try {
    const response = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(2_000)]) });
    const text = await response.text();
    return response.ok ? 'ready' : `${response.status} ${text.slice(0, 300)}`;
  } catch (error) {
    return String((error as Error).cause ?? error);
  }
}

/** A promise that is rejected when the signal is aborted. */
function rejection(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
