/**
 * How a service process begins and ends. `main.ts` hands over a function that starts the service; from then on the
 * process tells its supervisor when it is ready, and ends in order on SIGTERM, SIGINT or when the supervisor is gone.
 *
 * - `STOKE_READY_FD`: a pipe; one line of JSON on it means ready.
 * - `STOKE_LIFELINE_FD`: a pipe that nobody writes to; its end means that the supervisor is gone.
 */
import { closeSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { type Config, parseConfig } from './config.ts';
import { createLog, type Log } from './log.ts';

export interface RunningService {
  /** What the supervisor should know, for example the port that was taken. */
  readonly ready?: Record<string, unknown>;
  /** Ends it in order: takes nothing new, lets what runs finish within a bound, closes what it opened. */
  close(): Promise<void>;
}

export interface ServiceContext {
  readonly config: Config;
  readonly log: Log;
}

/** Longest that `close()` may take before the process ends regardless. */
const closeBoundMs = 10_000;

export async function runService(
  name: string,
  start: (context: ServiceContext) => Promise<RunningService>,
): Promise<void> {
  let config: Config;
  try {
    config = parseConfig(process.env);
  } catch (error) {
    process.stderr.write(`${name}: ${(error as Error).message}\n`);
    process.exit(2);
  }
  const log = createLog(name, config.logLevel);
  const fail = (error: unknown) => {
    log.fatal({ err: error }, error instanceof Error ? error.message : String(error));
    process.exit(1);
  };
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);

  const ending = new Promise<string>((resolve) => {
    process.once('SIGTERM', () => resolve('SIGTERM'));
    process.once('SIGINT', () => resolve('SIGINT'));
    watchLifeline(() => resolve('the supervisor is gone'));
  });
  const service = await start({ config, log });
  notifyReady(service.ready ?? {});
  log.info({ ...service.ready }, 'ready');

  const reason = await ending;
  log.info({ reason }, 'closing');
  setTimeout(() => fail(new Error(`closing took longer than ${closeBoundMs} ms`)), closeBoundMs).unref();
  await service.close();
  process.exit(0);
}

function watchLifeline(onEnd: () => void): void {
  const fd = process.env.STOKE_LIFELINE_FD;
  if (!fd) return;
  const lifeline = new Socket({ fd: Number(fd), readable: true, writable: false });
  lifeline.on('error', onEnd).on('close', onEnd).resume();
  lifeline.unref();
}

function notifyReady(ready: Record<string, unknown>): void {
  const fd = process.env.STOKE_READY_FD;
  if (!fd) return;
  writeSync(Number(fd), `${JSON.stringify(ready)}\n`);
  closeSync(Number(fd));
}
