/**
 * `fn up --detach`: starts `fn up` in a session of its own and waits for what it says on the pipe `STOKE_READY_FD`:
 * one line of JSON, `DetachedReport`. Its output goes to `<home>/logs/supervisor.log`.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Config } from '../../platform/config.ts';
import { CliError } from '../output.ts';
import { readLines } from './readiness.ts';

export type DetachedReport =
  | { ready: { url: string; pid: number } }
  | { error: { code: string; message: string; remedy?: string; exitCode: 1 | 2 } };

/**
 * @returns when the platform is ready
 * @throws CliError as the detached process reported it
 */
export async function startDetached(config: Config): Promise<{ url: string; pid: number }> {
  mkdirSync(`${config.home}/logs`, { recursive: true, mode: 0o750 });
  const logPath = `${config.home}/logs/supervisor.log`;
  const log = openSync(logPath, 'a', 0o640);
  const main = join(import.meta.dirname, '../main.ts');
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main, 'up'], {
    stdio: ['ignore', log, log, 'pipe'],
    env: { ...process.env, STOKE_READY_FD: '3' },
    detached: true,
  });
  closeSync(log);
  const cancel = () => child.kill('SIGTERM');
  process.on('SIGINT', cancel).on('SIGTERM', cancel);
  try {
    const report = await readReport(child.stdio[3] as Readable);
    if (report && 'ready' in report) return report.ready;
    if (report) throw new CliError(report.error.message, report.error);
    throw new CliError('the detached supervisor ended without a word', { remedy: `its output: ${logPath}` });
  } finally {
    process.off('SIGINT', cancel).off('SIGTERM', cancel);
    (child.stdio[3] as Readable).destroy();
    child.unref();
  }
}

/** Called by the detached process; does nothing in one that nobody waits for. */
export function reportDetached(report: DetachedReport): void {
  const fd = process.env.STOKE_READY_FD;
  if (!fd) return;
  try {
    writeSync(Number(fd), `${JSON.stringify(report)}\n`);
    closeSync(Number(fd));
  } catch (error) {
    // Whoever waited is gone; the platform runs all the same.
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

function readReport(pipe: Readable): Promise<DetachedReport | undefined> {
  return new Promise((resolve) => {
    readLines(pipe, (line) => resolve(JSON.parse(line) as DetachedReport));
    pipe.on('close', () => resolve(undefined));
  });
}
