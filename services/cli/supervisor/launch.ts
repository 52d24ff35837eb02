/**
 * From the environment to a running supervisor in this process: configuration, user, process table, signals.
 * Shared by `fn up` and `fn start`.
 */
import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { type Config, parseConfig } from '../../platform/config.ts';
import { findUser, type User } from '../../platform/user.ts';
import { CliError } from '../output.ts';
import { findBarrier } from './directories.ts';
import { explainFailure } from './explain.ts';
import { processTable } from './process-table.ts';
import { Supervisor, type SupervisorEvent } from './supervisor.ts';

export interface Launched {
  readonly supervisor: Supervisor;
  readonly config: Config;
  /** Of the gateway. */
  readonly url: string;
}

/**
 * Returns when calls can be answered. SIGINT, SIGTERM and SIGHUP begin the shutdown; a second one makes it quick.
 * @throws CliError; nothing is left running then. ShutdownError when a signal came first
 */
export async function launch(onEvent: (event: SupervisorEvent) => void): Promise<Launched> {
  const config = readConfig();
  const user = readUser(config);
  const root = realpathSync(join(import.meta.dirname, '../../..'));
  const stages = processTable(config, { root, node: process.execPath, environment: process.env, user });
  const supervisor = new Supervisor({ config, user, stages, onEvent });
  shutDownOnSignals(supervisor);
  try {
    return { supervisor, config, url: await supervisor.start() };
  } catch (error) {
    throw explainFailure(error, config);
  }
}

/** npm sends its child the SIGINT that the terminal has sent there already; a person's second Ctrl-C comes later. */
const sameSignalMs = 500;

function shutDownOnSignals(supervisor: Supervisor): void {
  let firstAt: number | undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (firstAt !== undefined && performance.now() - firstAt > sameSignalMs) supervisor.hurry();
      firstAt ??= performance.now();
      supervisor.shutdown(signal);
    });
  }
}

/** @throws CliError that names the wrong variables */
export function readConfig(): Config {
  try {
    return parseConfig(process.env);
  } catch (cause) {
    throw new CliError((cause as Error).message, { code: 'invalid_config', exitCode: 2, cause });
  }
}

function readUser(config: Config): User {
  if (process.geteuid?.() !== 0) {
    throw new CliError('containers need root, and this is not root', {
      code: 'not_root',
      remedy: 'run it with sudo; the gateway, the worker and Redis give root away',
    });
  }
  let user: User;
  try {
    user = findUser(config.user);
  } catch (cause) {
    const [fact = '', remedy] = (cause as Error).message.split('; ');
    throw new CliError(fact, { code: 'no_user', ...(remedy ? { remedy } : {}), cause });
  }
  for (const path of [config.home, config.run]) {
    const barrier = findBarrier(path, user);
    if (!barrier) continue;
    throw new CliError(`user "${user.name}" cannot enter ${barrier}, which is above ${path}`, {
      code: 'folder_closed',
      remedy: `let it pass with: chmod o+x ${barrier}; or choose other folders with STOKE_HOME and STOKE_RUN`,
    });
  }
  return user;
}
