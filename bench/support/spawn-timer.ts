/**
 * Measures programs from spawn to exit. The measuring is done by a small process of its own, because a spawn copies the
 * page tables of who does it. That process lives in a private mount namespace: what is mounted there is gone with it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { cleanEnvironment } from './clean-environment.ts';
import type { Timed } from './spawn-timer-process.ts';

export class SpawnTimer implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #lines: Interface;
  readonly #gone: Promise<never>;

  /** @param setup shell commands that mount what the programs need */
  constructor(setup: readonly string[] = []) {
    const program = join(import.meta.dirname, 'spawn-timer-process.ts');
    const script = ['set -e', ...setup, 'exec "$@"'].join('\n');
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', program];
    this.#process = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', ...node], {
      env: cleanEnvironment(),
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#lines = createInterface({ input: this.#process.stdout as Readable });
    this.#gone = once(this.#process, 'exit').then(() => {
      throw new Error('the process that measures others has ended');
    });
    this.#gone.catch(() => undefined); // whoever waits for a run is told
  }

  /**
   * Runs it once, without input; its output is thrown away but for the last words of one that fails.
   * @throws Error when the measuring process is gone
   */
  async run(command: readonly string[]): Promise<Timed> {
    const answer = once(this.#lines, 'line') as Promise<[string]>;
    (this.#process.stdin as Writable).write(`${JSON.stringify(command)}\n`);
    return JSON.parse((await Promise.race([answer, this.#gone]))[0]) as Timed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const exited = once(this.#process, 'exit');
    this.#process.stdin?.end();
    await exited;
  }
}
