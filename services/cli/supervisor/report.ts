/** What the supervisor in the foreground prints about its processes: lines for people, JSON lines for programs. */

import { StokeError } from '../../contracts/errors.ts';
import { CliError, formatMs, printLine, printNote, style } from '../output.ts';
import { describeExit } from './process-events.ts';
import type { SupervisorEvent } from './supervisor.ts';

/** Stdout for people holds the result only; what happens on the way goes to stderr. */
export function reportEvents(options: { json: boolean }): (event: SupervisorEvent) => void {
  if (options.json) return (event) => printLine(JSON.stringify(event));
  return (event) => {
    const text = describeEvent(event);
    if (text !== undefined) printNote(text);
  };
}

/** With `--json`, a failure is one more line among the events; without, it is thrown on to be printed as usual. */
export function reportFailure(error: unknown, options: { json: boolean }): void {
  if (!options.json) throw error;
  const { code, message, details, remedy, exitCode } = asCliError(error);
  printLine(JSON.stringify({ event: 'failed', error: { code, message, remedy, details } }));
  process.exitCode = exitCode;
}

/** @returns the error itself when it is one that `fn` knows */
export function asCliError(error: unknown): CliError {
  if (error instanceof CliError) return error;
  const code = error instanceof StokeError ? error.code : 'internal';
  return new CliError(error instanceof Error ? error.message : String(error), { code, cause: error });
}

/** @returns undefined for what is not worth a line */
function describeEvent(event: SupervisorEvent): string | undefined {
  const name = 'name' in event ? style('bold', event.name, process.stderr) : '';
  switch (event.event) {
    case 'started':
      return undefined;
    case 'ready':
      return `${name} ready after ${formatMs(event.tookMs)} (pid ${event.pid})`;
    case 'exited':
      return event.expected
        ? undefined
        : `${style('red', '!', process.stderr)} ${name} ended: ${describeExit(event.exit)}`;
    case 'restarting':
      return `${name} is started again ${event.delayMs === 0 ? 'now' : `in ${formatMs(event.delayMs)}`}`;
    case 'killed':
      return `${name} (pid ${event.pid}) was killed: ${event.reason}`;
    case 'logged':
      return `${style(event.level === 'warn' ? 'yellow' : 'red', event.level, process.stderr)} ${name} ${event.text}`;
    case 'survivors':
      return `ended what an earlier run had left: ${event.processes.map((each) => `${each.name} (pid ${each.pid})`).join(', ')}`;
    case 'stopping':
      return `stopping (${event.reason})`;
  }
}
