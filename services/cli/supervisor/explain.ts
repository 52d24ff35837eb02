/** Why it did not start, as an error that a person can act upon. */
import type { Config } from '../../platform/config.ts';
import { CliError } from '../output.ts';
import { LockedError } from './lock.ts';
import { GaveUpError } from './managed-process.ts';
import { describeExit } from './process-events.ts';

type Installation = Pick<Config, 'home' | 'run' | 'listen'>;

/** @returns the error itself when nothing more can be said about it */
export function explainFailure(error: unknown, config: Installation): unknown {
  if (error instanceof LockedError) return explainLock(error, config);
  if (error instanceof GaveUpError) return explainGaveUp(error, config);
  return error;
}

function explainLock({ path, pid }: LockedError, { home }: Installation): CliError {
  const folder = path === home ? 'STOKE_HOME' : 'STOKE_RUN';
  return new CliError(
    `${path} is in use: ${pid === undefined ? 'another process' : `process ${pid}`} runs it already`,
    {
      code: 'already_running',
      remedy: `see it with: fn status; end it with: fn down; or run a second one with another ${folder}`,
      details: { pid: pid ?? null, path },
    },
  );
}

function explainGaveUp(error: GaveUpError, { home, listen }: Installation): CliError {
  const code = error.lines.findLast((line) => line.level === 'error')?.code;
  const address = `${listen.host.includes(':') ? `[${listen.host}]` : listen.host}:${listen.port}`;
  if (error.process === 'gateway' && code === 'EADDRINUSE') {
    return new CliError(`the gateway cannot listen on ${address}: another process does`, {
      code: 'address_in_use',
      remedy: `see which with: ss -ltnp 'sport = :${listen.port}'\nor choose another address, for example: STOKE_LISTEN=${listen.host}:${listen.port === 65535 ? 8080 : listen.port + 1}`,
      details: { address },
      cause: error,
    });
  }
  if (error.process === 'gateway' && code === 'EADDRNOTAVAIL') {
    return new CliError(`the gateway cannot listen on ${address}: this machine does not have that address`, {
      code: 'address_not_available',
      remedy: 'choose one that ip address shows, for example: STOKE_LISTEN=127.0.0.1:8080',
      details: { address },
      cause: error,
    });
  }
  // Of a stack, what was thrown says more than where; the log has both.
  const told = error.lines.filter((line) => !/^\s+at /.test(line.text));
  const lines = told.slice(-8).map((line) => `  ${line.text}`);
  return new CliError([`${error.process} does not start: ${describeExit(error.exit)}`, ...lines].join('\n'), {
    code: 'start_failed',
    remedy: `all of its log: ${home}/logs/${error.process}.log; check the machine with: fn doctor`,
    details: { process: error.process, exit: error.exit },
    cause: error,
  });
}
