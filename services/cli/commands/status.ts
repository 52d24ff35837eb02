/** `fn status`: what runs on this machine, and whether calls can be answered. */
import { Command } from 'commander';
import type { PlatformStatus } from '../../contracts/management-api.ts';
import { CliError, formatMs, printJson, printLine, runAction, style, table } from '../output.ts';
import type { SupervisorStatus } from '../supervisor/control.ts';
import type { ProcessStatus } from '../supervisor/process-events.ts';

export function statusCommand(): Command {
  return new Command('status')
    .description('what runs on this machine, and whether calls can be answered')
    .option('--json', 'print JSON')
    .action(runAction(status));
}

/** Exit code 1 when the platform is not ready. */
async function status(options: { json?: boolean }): Promise<void> {
  const { readConfig } = await import('../supervisor/launch.ts');
  const { readSupervisorStatus } = await import('../supervisor/control.ts');
  const config = readConfig();
  const supervisor = await readSupervisorStatus(config.sockets.supervisor);
  const platform = await readPlatformStatus();
  if (!supervisor && 'error' in platform) {
    throw new CliError(`nothing runs on ${config.home}`, { code: 'not_running', remedy: 'start it with: fn up' });
  }
  const ready = 'status' in platform && platform.status.ready;
  if (!ready) process.exitCode = 1;
  if (options.json) {
    printJson({ ready, supervisor: supervisor ?? null, platform: 'status' in platform ? platform.status : null });
    return;
  }
  if (supervisor) printProcesses(supervisor);
  if ('status' in platform) printPlatform(platform.status, platform.url);
  else printLine(`the gateway does not answer: ${platform.error.message}`);
}

type PlatformAnswer = { url: string; status: PlatformStatus } | { error: Error };

async function readPlatformStatus(): Promise<PlatformAnswer> {
  const { findGateway } = await import('../gateway-client.ts');
  const { platformStatusSchema } = await import('../../contracts/management-api.ts');
  try {
    const gateway = findGateway();
    const signal = AbortSignal.timeout(5_000);
    return {
      url: gateway.url,
      status: await gateway.json(platformStatusSchema, { method: 'GET', path: '/api/v1/status', signal }),
    };
  } catch (error) {
    // That it does not answer is part of the status.
    return { error: error as Error };
  }
}

function printProcesses({ processes, state, pid, home }: SupervisorStatus): void {
  printLine(`${home}: supervisor ${state} (pid ${pid})`);
  printLine();
  table([
    ['PROCESS', 'STATE', 'PID', 'UP', 'RESTARTS', 'LAST EXIT'],
    ...processes.map((each) => [
      each.name,
      each.state,
      each.pid === null ? '-' : String(each.pid),
      each.uptimeMs === null ? '-' : formatDuration(each.uptimeMs),
      String(each.restarts),
      describeLastExit(each),
    ]),
  ]);
  printLine();
}

function describeLastExit({ lastExit }: ProcessStatus): string {
  if (!lastExit) return '-';
  return `${lastExit.reason ?? lastExit.signal ?? `code ${lastExit.code}`} at ${lastExit.at.slice(0, 19).replace('T', ' ')}`;
}

function printPlatform(platform: PlatformStatus, url: string): void {
  const ready = platform.ready ? style('green', 'ready') : style('red', 'not ready');
  printLine(`gateway ${url}: ${ready}, ${platform.gateway.inFlight} calls in flight`);
  for (const [name, answers] of Object.entries(platform.redis)) {
    printLine(`redis ${name}: ${answers ? 'answers' : style('red', 'does not answer')}`);
  }
  if (platform.workers.length === 0) printLine(style('red', 'no worker'));
  else printWorkers(platform.workers);
}

function printWorkers(workers: PlatformStatus['workers']): void {
  printLine();
  table([
    ['NODE', 'INSTANCES', 'BUSY', 'IDLE', 'STARTING', 'WAITING CALLS'],
    ...workers.map(({ node, instances, maxInstances, waiting }) => {
      const inState = (state: string) => String(instances.filter((each) => each.state === state).length);
      return [
        node,
        `${instances.length} of ${maxInstances}`,
        inState('busy'),
        inState('idle'),
        inState('starting'),
        String(waiting),
      ];
    }),
  ]);
}

function formatDuration(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return formatMs(ms);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d`;
}
