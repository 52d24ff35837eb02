/**
 * One supervised process through all its lives. This class alone starts, restarts and stops it.
 *
 * ```
 *           start()            ready              exit: restart
 * stopped ──────────▶ starting ─────▶ ready ──────────────────▶ waiting ──▶ starting …
 *    ▲                   │ exit: restart ▲ or give up              │
 *    └──── exit ──── stopping ◀──────── stop(), from any state ────┘
 * ```
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { LogFile } from './log-file.ts';
import { type LogLine, parseObject, readLogLine } from './log-line.ts';
import type { Exit, ProcessEvent, ProcessStatus } from './process-events.ts';
import type { ProcessSpec } from './process-table.ts';
import { pingRedis, readLines, saysRedisIsReady } from './readiness.ts';
import { afterExit, freshHistory, type RestartHistory } from './restart-policy.ts';

/** It never became ready, and there is no point in trying on. */
export class GaveUpError extends Error {
  override name = 'GaveUpError';
  readonly process: string;
  readonly exit: Exit;
  /** The end of its log. */
  readonly lines: readonly LogLine[];

  constructor(process: string, exit: Exit, lines: readonly LogLine[]) {
    super(`${process} did not become ready`);
    this.process = process;
    this.exit = exit;
    this.lines = lines;
  }
}

/** One life of it. */
interface Life {
  readonly child: ChildProcess;
  readonly startedAt: number;
  readyAt: number | undefined;
  /** Resolved once it is gone and what follows from that is decided. */
  readonly ended: PromiseWithResolvers<void>;
  readonly readyTimer: NodeJS.Timeout;
}

/** Errors that the next attempt meets, too. */
const hopelessCodes = ['EADDRINUSE', 'EADDRNOTAVAIL', 'EACCES'];
/** Exit code of a service whose configuration is wrong (platform/lifecycle.ts). */
const wrongConfigurationCode = 2;
const keptLines = 20;
/** A grandchild may hold the log open after the process is gone; how long its last lines are waited for. */
const lastLinesMs = 500;

export class ManagedProcess {
  readonly spec: ProcessSpec;
  readonly #onEvent: (event: ProcessEvent) => void;
  readonly #log: LogFile;
  readonly #firstReady = Promise.withResolvers<void>();
  readonly #lastLines: LogLine[] = [];
  #state: ProcessStatus['state'] = 'stopped';
  #life: Life | undefined;
  #history: RestartHistory = freshHistory;
  #restarts = 0;
  #lastExit: ProcessStatus['lastExit'] = null;
  #restartTimer: NodeJS.Timeout | undefined;
  #laterEnv: Record<string, string> = {};
  #logBroken = false;

  constructor(spec: ProcessSpec, logPath: string, onEvent: (event: ProcessEvent) => void) {
    this.spec = spec;
    this.#log = new LogFile(logPath);
    this.#onEvent = onEvent;
  }

  /**
   * Starts it, once.
   * @returns when it is ready for the first time
   * @throws GaveUpError
   */
  start(): Promise<void> {
    this.#begin();
    return this.#firstReady.promise;
  }

  /** Ends it: SIGTERM, after `stopMs` SIGKILL, or at once when `hurry` is aborted. Safe in any state. */
  async stop(hurry: AbortSignal): Promise<void> {
    clearTimeout(this.#restartTimer);
    // Nobody may be waiting for it any more.
    this.#firstReady.promise.catch(() => undefined);
    this.#firstReady.reject(new Error(`${this.spec.name} was stopped`));
    const life = this.#life;
    if (life) {
      this.#state = 'stopping';
      const kill = (reason: string) => this.#kill(life, reason);
      const timer = setTimeout(() => kill(`did not end within ${this.spec.stopMs} ms`), this.spec.stopMs);
      const onHurry = () => kill('told to hurry');
      hurry.addEventListener('abort', onHurry);
      if (hurry.aborted) onHurry();
      else life.child.kill('SIGTERM');
      await life.ended.promise;
      clearTimeout(timer);
      hurry.removeEventListener('abort', onHurry);
    }
    this.#state = 'stopped';
    this.#log.close();
  }

  get pid(): number | undefined {
    return this.#life?.child.pid;
  }

  status(): ProcessStatus {
    return {
      name: this.spec.name,
      state: this.#state,
      pid: this.pid ?? null,
      restarts: this.#restarts,
      uptimeMs: this.#life ? Math.round(performance.now() - this.#life.startedAt) : null,
      lastExit: this.#lastExit,
    };
  }

  #begin(): void {
    this.#state = 'starting';
    this.#lastLines.length = 0;
    const child = this.#spawn();
    const life: Life = {
      child,
      startedAt: performance.now(),
      readyAt: undefined,
      ended: Promise.withResolvers<void>(),
      readyTimer: setTimeout(() => this.#kill(life, `not ready after ${this.spec.readyMs} ms`), this.spec.readyMs),
    };
    this.#life = life;
    if (child.pid !== undefined) this.#onEvent({ event: 'started', name: this.spec.name, pid: child.pid });
    child.once('error', (error) => {
      // Without a pid there was no process, and there is no `exit` either.
      if (child.pid === undefined) this.#ended(life, { code: null, signal: null, reason: error.message });
    });
    child.once('exit', (code, signal) => {
      clearTimeout(life.readyTimer);
      const ended = () => this.#ended(life, { code, signal });
      // Why it never became ready is in its last lines. Later on, nothing is worth waiting for.
      if (this.#history.everReady || life.readyAt !== undefined) ended();
      else afterLastLines(child, ended);
    });
    this.#watch(life);
  }

  #spawn(): ChildProcess {
    const { command, args, env, readiness } = this.spec;
    const pipes = readiness.kind === 'pipe' ? { STOKE_READY_FD: '3', STOKE_LIFELINE_FD: '4' } : {};
    return spawn(command, args, {
      env: { ...env, ...this.#laterEnv, ...pipes },
      stdio: ['ignore', 'pipe', 'pipe', ...(readiness.kind === 'pipe' ? (['pipe', 'pipe'] as const) : [])],
      // A session of its own: Ctrl-C is for the supervisor, which then stops the others in order.
      detached: true,
    });
  }

  #watch(life: Life): void {
    const { readiness } = this.spec;
    const { child } = life;
    const onLine = (line: string) => {
      this.#logged(line);
      if (readiness.kind !== 'redis' || life.readyAt !== undefined || !saysRedisIsReady(line)) return;
      pingRedis(readiness.socket).then(
        () => this.#ready(life, {}),
        (error: Error) => this.#kill(life, error.message),
      );
    };
    for (const stream of [child.stdout, child.stderr]) if (stream) readLines(stream, onLine);
    if (readiness.kind !== 'pipe') return;
    readLines(child.stdio[3] as Readable, (line) => this.#readyLine(life, line));
    // The lifeline: only its end means something, and only to the child.
    child.stdio[4]?.on('error', () => undefined);
  }

  #readyLine(life: Life, line: string): void {
    const info = parseObject(line);
    if (info) this.#ready(life, info);
    else this.#kill(life, `said it is ready with ${JSON.stringify(line)} instead of a JSON object`);
  }

  #ready(life: Life, info: Record<string, unknown>): void {
    if (life !== this.#life || life.readyAt !== undefined || this.#state !== 'starting') return;
    clearTimeout(life.readyTimer);
    life.readyAt = performance.now();
    this.#state = 'ready';
    if (this.spec.laterEnv) this.#laterEnv = this.spec.laterEnv(info);
    const tookMs = life.readyAt - life.startedAt;
    this.#onEvent({ event: 'ready', name: this.spec.name, pid: life.child.pid as number, tookMs, info });
    this.#firstReady.resolve();
  }

  #ended(life: Life, exit: Exit): void {
    clearTimeout(life.readyTimer);
    life.ended.resolve();
    this.#life = undefined;
    this.#lastExit = { ...exit, at: new Date().toISOString() };
    const expected = this.#state === 'stopping';
    this.#onEvent({ event: 'exited', name: this.spec.name, pid: life.child.pid, exit, expected });
    if (expected) return;
    const readyForMs = life.readyAt === undefined ? undefined : performance.now() - life.readyAt;
    const { history, decision } = afterExit(this.#history, readyForMs, this.#isHopeless(exit));
    this.#history = history;
    if (decision.kind === 'give-up') {
      this.#state = 'stopped';
      this.#firstReady.reject(new GaveUpError(this.spec.name, exit, this.#lastLines.slice()));
      return;
    }
    this.#state = 'waiting';
    this.#restarts += 1;
    this.#onEvent({ event: 'restarting', name: this.spec.name, delayMs: decision.delayMs });
    this.#restartTimer = setTimeout(() => this.#begin(), decision.delayMs);
  }

  #isHopeless(exit: Exit): boolean {
    const code = this.#lastLines.findLast((line) => line.level === 'error')?.code;
    return exit.reason !== undefined || exit.code === wrongConfigurationCode || hopelessCodes.includes(code ?? '');
  }

  #kill(life: Life, reason: string): void {
    if (life !== this.#life || life.child.pid === undefined) return;
    this.#onEvent({ event: 'killed', name: this.spec.name, pid: life.child.pid, reason });
    life.child.kill('SIGKILL');
  }

  #logged(line: string): void {
    if (line.trim() === '') return;
    this.#writeLog(line);
    const read = readLogLine(line);
    this.#lastLines.push(read);
    if (this.#lastLines.length > keptLines) this.#lastLines.shift();
    // What goes wrong at the start is reported once it has gone wrong; Redis' farewell is no warning.
    if (read.level === 'info' || this.#state !== 'ready') return;
    this.#onEvent({ event: 'logged', name: this.spec.name, level: read.level, text: read.text });
  }

  /** A full disk must not end what still works. */
  #writeLog(line: string): void {
    try {
      this.#log.write(line);
      this.#logBroken = false;
    } catch (error) {
      if (this.#logBroken) return; // Said already.
      this.#logBroken = true;
      const text = `its log cannot be written: ${(error as Error).message}`;
      this.#onEvent({ event: 'logged', name: this.spec.name, level: 'error', text });
    }
  }
}

/** Calls back when all that the child wrote is read. */
function afterLastLines(child: ChildProcess, callback: () => void): void {
  const timer = setTimeout(callback, lastLinesMs);
  child.once('close', () => {
    clearTimeout(timer);
    callback();
  });
}
