/**
 * An installation of its own for one run: home and sockets in a fresh folder, the gateway on a free port, a clean
 * environment. Closing it ends the platform, checks that nothing is left of it, and removes the folder.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { findLeftovers } from '../../services/cli/supervisor/leftovers.ts';
import { type PlatformStatus, platformStatusSchema } from '../../services/contracts/management-api.ts';
import { parseConfig } from '../../services/platform/config.ts';
import { UnixHttpClient } from '../../services/platform/unix-http.ts';
import { cleanEnvironment } from './clean-environment.ts';

const fn = join(import.meta.dirname, '../../services/cli/fn');

export interface Installation extends AsyncDisposable {
  /** Of the gateway. */
  readonly url: string;
  readonly home: string;
  /** For anything else that the run needs; goes with the installation. */
  readonly scratch: string;
  /** Of `fn` commands for it. */
  readonly environment: Readonly<Record<string, string>>;
  readonly daemonSocket: string;
  /** Pids of its processes by name; a zygote is no process of the supervisor's. */
  processes(): Promise<Map<string, number>>;
  status(): Promise<PlatformStatus>;
}

/**
 * @param settings more `STOKE_*` variables
 * @throws Error with the last of its output when the platform does not start
 */
export async function openInstallation(
  signal: AbortSignal,
  settings: Readonly<Record<string, string>> = {},
): Promise<Installation> {
  const folder = mkdtempSync(join(tmpdir(), 'stoke-bench-'));
  // The gateway, the worker and containers have users of their own, and must get through.
  chmodSync(folder, 0o711);
  const environment = cleanEnvironment({
    HOME: folder,
    STOKE_HOME: join(folder, 'home'),
    STOKE_RUN: join(folder, 'run'),
    STOKE_LISTEN: '127.0.0.1:0',
    ...settings,
  });
  const config = parseConfig(environment);
  // Detached: a Ctrl-C in the terminal reaches only the benchmark, which then ends what it started in order.
  const supervisor = spawn(fn, ['up', '--json'], {
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const control = new UnixHttpClient(config.sockets.supervisor);
  const close = async () => {
    control.close();
    await end(supervisor);
    const leftovers = findLeftovers(config);
    rmSync(folder, { recursive: true, force: true });
    if (leftovers.length > 0) {
      throw new Error(
        `the platform left something: ${leftovers.map(({ kind, what }) => `${kind} ${what}`).join(', ')}`,
      );
    }
  };
  try {
    const url = await ready(supervisor, signal);
    return {
      url,
      home: config.home,
      scratch: folder,
      environment,
      daemonSocket: config.sockets.daemon,
      processes: async () => {
        const { processes } = (await control.json({ method: 'GET', path: '/status' })) as {
          processes: { name: string; pid: number }[];
        };
        return new Map(processes.map(({ name, pid }) => [name, pid]));
      },
      status: async () => platformStatusSchema.parse(await (await fetch(`${url}/api/v1/status`)).json()),
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** @returns the gateway's address */
function ready(supervisor: ChildProcess, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const lastWords: string[] = [];
    const remember = (line: string) => {
      lastWords.push(line);
      if (lastWords.length > 20) lastWords.shift();
    };
    createInterface({ input: supervisor.stdout as Readable }).on('line', (line) => {
      remember(line);
      const event = JSON.parse(line) as { event?: string; url?: string };
      if (event.event === 'ready' && event.url) resolve(event.url);
    });
    createInterface({ input: supervisor.stderr as Readable }).on('line', remember);
    supervisor.once('error', reject);
    supervisor.once('exit', (code) => {
      reject(new Error(`the platform did not start (exit status ${code}):\n${lastWords.join('\n')}`));
    });
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

/** The supervisor bounds how long its processes may take. */
async function end(supervisor: ChildProcess): Promise<void> {
  if (supervisor.pid === undefined || supervisor.exitCode !== null || supervisor.signalCode !== null) return;
  const exited = new Promise((resolve) => supervisor.once('exit', resolve));
  supervisor.kill('SIGTERM');
  await exited;
}
