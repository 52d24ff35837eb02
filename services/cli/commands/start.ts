/** `fn start`, what `npm start` runs: the platform in the foreground, with a first function deployed and called. */
import { Command } from 'commander';
import { printLine, runAction, style } from '../output.ts';
import type { Call, Sample } from '../sample-function.ts';
import type { Launched } from '../supervisor/launch.ts';

export function startCommand(): Command {
  return new Command('start')
    .description('run the platform, and deploy and call a first function')
    .option('--once', 'end it after that: exit code 0, or 1 with a reason')
    .option('--json', 'print JSON, one event a line')
    .action(runAction(start));
}

interface StartOptions {
  once?: boolean;
  json?: boolean;
}

async function start(options: StartOptions): Promise<void> {
  const { launch } = await import('../supervisor/launch.ts');
  const { reportEvents, reportFailure } = await import('../supervisor/report.ts');
  const { ShutdownError } = await import('../supervisor/supervisor.ts');
  try {
    const launched = await launch(reportEvents({ json: options.json === true }));
    await show(launched, options);
    if (options.once) launched.supervisor.shutdown('--once');
    await launched.supervisor.ended();
  } catch (error) {
    // Ctrl-C before it was ready: what was asked for has happened. Once, though, is not done then.
    if (error instanceof ShutdownError && !options.once) return;
    reportFailure(error, { json: options.json === true });
  }
}

/** @throws what went wrong, when everything is gone */
async function show({ supervisor, url }: Launched, options: StartOptions): Promise<void> {
  const { runSample } = await import('../sample-function.ts');
  try {
    const sample = await runSample(url, supervisor.ending);
    if (options.json) printLine(JSON.stringify({ event: 'ready', url, pid: process.pid, sample }));
    else printSample(sample, url, options);
  } catch (error) {
    const interrupted = supervisor.ending.aborted;
    supervisor.shutdown('the first function failed');
    await supervisor.ended();
    throw interrupted ? supervisor.ending.reason : error;
  }
}

function printSample(sample: Sample, url: string, { once }: StartOptions): void {
  printLine();
  if (sample.kind === 'others') {
    printLine(`${style('green', 'ready')} at ${style('bold', url)}, with ${sample.functions.join(', ')}`);
  } else {
    const verb = sample.deployedMs === null ? 'is deployed' : `was deployed in ${Math.round(sample.deployedMs)} ms`;
    printLine(`${style('bold', sample.name)} ${verb}; GET ${sample.url}`);
    for (const call of sample.calls) printLine(`  ${describeCall(call)}`);
    printLine();
    printLine(`${style('green', 'ready')} at ${style('bold', url)}`);
  }
  if (once) return;
  printLine();
  printLine('in another terminal:');
  if (sample.kind === 'called') {
    printLine(`  curl ${sample.url}`);
    printLine(`  fn logs ${sample.name}`);
  }
  printLine('  fn init mine && fn deploy mine && fn invoke mine');
  printLine('  fn status');
  printLine('Ctrl-C ends everything');
}

function describeCall({ start, times, totalMs, answer }: Call): string {
  const stages = Object.entries(times).map(([stage, ms]) => `${stage} ${ms.toFixed(1)} ms`);
  const inside = stages.length > 0 ? ` (${stages.join(', ')})` : '';
  return `${style('bold', start)} start, ${totalMs.toFixed(1)} ms${inside}: ${answer}`;
}
