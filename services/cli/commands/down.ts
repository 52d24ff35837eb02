/** `fn down`: ends the platform on this machine. */
import { Command } from 'commander';
import { CliError, printJson, printLine, runAction } from '../output.ts';

export function downCommand(): Command {
  return new Command('down')
    .description('end the platform on this machine, and wait until it is gone')
    .option('--json', 'print JSON')
    .action(runAction(down));
}

/** Each process has 10 s to end before it is killed, one stage after the other. */
const boundMs = 60_000;

async function down(options: { json?: boolean }): Promise<void> {
  const { readConfig } = await import('../supervisor/launch.ts');
  const { requestShutdown, readSupervisorStatus } = await import('../supervisor/control.ts');
  const { endSurvivors, readStartTime, waitUntilGone } = await import('../supervisor/survivors.ts');
  const config = readConfig();
  const running = await readSupervisorStatus(config.sockets.supervisor);
  const startTime = running && readStartTime(running.pid);
  if (running && startTime) {
    await requestShutdown(config.sockets.supervisor);
    if (!(await waitUntilGone([{ pid: running.pid, startTime }], boundMs))) {
      throw new CliError(`the supervisor (pid ${running.pid}) still runs after ${boundMs / 1000} s`, {
        remedy: `see what it waits for with: fn status; the last resort is: kill -9 ${running.pid}; fn down`,
      });
    }
  }
  // Of a supervisor that was killed.
  const survivors = await endSurvivors(`${config.run}/processes.json`, boundMs);
  if (options.json) return printJson({ stopped: running?.pid ?? null, survivors: survivors.map(({ pid }) => pid) });
  if (running) return printLine(`stopped (it was pid ${running.pid})`);
  if (survivors.length > 0) return printLine(`ended ${survivors.length} processes that an earlier run had left`);
  printLine(`nothing runs on ${config.home}`);
}
