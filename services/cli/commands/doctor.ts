/** `fn doctor`: whether this machine has what Stoke needs, and whether an earlier run left anything behind. */
import { Command } from 'commander';
import type { Check } from '../../platform/machine.mjs';
import { printJson, printLine, runAction, style } from '../output.ts';
import type { Leftover } from '../supervisor/leftovers.ts';

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('check this machine, and look for what an earlier run left behind')
    .option('--json', 'print JSON')
    .action(runAction(doctor));
}

/** Exit code 1 when something is missing or left over. */
async function doctor(options: { json?: boolean }): Promise<void> {
  const { checkMachine, checkPrograms, readMachine } = await import('../../platform/machine.mjs');
  const { readConfig } = await import('../supervisor/launch.ts');
  const { lockHolder } = await import('../supervisor/lock.ts');
  const { findLeftovers } = await import('../supervisor/leftovers.ts');
  const config = readConfig();
  const machine = readMachine();
  const checks = [...checkMachine(machine), ...checkPrograms(machine)];
  const pid = await lockHolder(config);
  const leftovers = pid === undefined && machine.uid === 0 ? findLeftovers(config) : [];
  const healthy = checks.every((check) => check.state !== 'missing') && leftovers.length === 0;
  if (!healthy) process.exitCode = 1;
  if (options.json) return printJson({ healthy, checks, running: pid ?? null, leftovers });
  for (const check of checks) printCheck(check);
  printLine();
  if (pid !== undefined) printLine(`${config.home} runs (pid ${pid}); what it should hold is in: fn status`);
  else printLeftovers(config.home, leftovers);
}

function printCheck({ name, state, found, remedy }: Check): void {
  const marks = { ok: style('green', '✓'), missing: style('red', '✗'), advice: style('yellow', '·') };
  printLine(`${marks[state]} ${name}: ${found}`);
  if (remedy) printLine(`    ${remedy}`);
}

function printLeftovers(home: string, leftovers: readonly Leftover[]): void {
  if (leftovers.length === 0) {
    printLine(`nothing runs on ${home}, and nothing is left of an earlier run`);
    return;
  }
  printLine(`nothing runs on ${home}, but an earlier run left:`);
  for (const { kind, what } of leftovers) printLine(`${style('red', '✗')} ${kind} ${what}`);
  printLine('    the next fn up removes them');
}
