/**
 * What a person, or a script with `--json`, gets to read: lines, tables, JSON, errors, and the exit code.
 * Colours only on a terminal and never with NO_COLOR. Loads nothing, so that every command starts fast.
 */
import { styleText } from 'node:util';
import type { Command } from 'commander';
import type { ErrorBody } from '../contracts/errors.ts';
import { formatBytes } from '../contracts/quantity.ts';

/** What went wrong and what to do about it, in words for the person at the terminal. */
export class CliError extends Error {
  override name = 'CliError';
  readonly code: string;
  readonly remedy: string | undefined;
  readonly details: Record<string, unknown> | undefined;
  /** 1: it failed; 2: the command line was wrong. */
  readonly exitCode: 1 | 2;

  constructor(
    message: string,
    options: {
      code?: string;
      /** One line or several: the next thing to do. */
      remedy?: string;
      details?: Record<string, unknown>;
      exitCode?: 1 | 2;
      cause?: unknown;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code ?? (options.exitCode === 2 ? 'usage' : 'failed');
    this.remedy = options.remedy;
    this.details = options.details;
    this.exitCode = options.exitCode ?? 1;
  }
}

type Style = Parameters<typeof styleText>[0];

/** `text` in a colour or weight where the stream shows them, else as it is. */
export function style(format: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return styleText(format, text, { stream });
}

/** One line on stdout. */
export function printLine(text = ''): void {
  process.stdout.write(`${text}\n`);
}

/** One line on stderr: what is not the command's result. */
export function printNote(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** The command's result for `--json`: one document, indented, on stdout. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

/** Prints rows as aligned columns; the first row is the heading. */
export function table(rows: readonly (readonly string[])[]): void {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, cell.length);
    });
  }
  rows.forEach((row, index) => {
    const line = row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)));
    const text = line.join('  ').trimEnd();
    printLine(index === 0 ? style('bold', text) : text);
  });
}

/** Milliseconds as people read them: `0.8 ms`, `42 ms`, `1.3 s`. */
export function formatMs(ms: number): string {
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

/** A size as people read it: `8.5 KiB`, `17 B`. */
export function formatSize(bytes: number): string {
  const text = formatBytes(bytes);
  return text.endsWith('B') ? text : `${text}B`;
}

/** Options that every command has; `json` is declared with `.option('--json', …)`. */
interface CommonOptions {
  json?: boolean;
}

/**
 * Wraps a commander action: what it throws becomes an error text (or JSON) and the exit code.
 * The process ends by itself afterwards, so that nothing written to a pipe is lost.
 */
export function runAction<Arguments extends unknown[]>(
  action: (...args: Arguments) => Promise<void> | void,
): (...args: Arguments) => Promise<void> {
  return async (...args) => {
    try {
      await action(...args);
    } catch (error) {
      const command = args.at(-1) as Command | undefined;
      await reportError(error, { json: command?.optsWithGlobals<CommonOptions>().json === true });
    }
  };
}

/** Prints any thrown value and sets the exit code. Never a stack, unless STOKE_DEBUG=1. */
export async function reportError(error: unknown, options: { json: boolean }): Promise<void> {
  const report = await describeError(error);
  process.exitCode = report.exitCode;
  if (options.json) printJson({ error: report.body });
  else {
    printNote(`${style('red', 'error:', process.stderr)} ${report.body.message}`);
    if (report.remedy) printNote(report.remedy.replace(/^/gm, '  '));
  }
  if (process.env.STOKE_DEBUG === '1') printNote(error instanceof Error ? String(error.stack) : String(error));
}

interface ErrorReport {
  body: Omit<ErrorBody, 'code'> & { code: string };
  remedy: string | undefined;
  exitCode: 1 | 2;
}

/** What to do about errors of the gateway, whose texts do not know the command line. */
const remedies: Record<string, string> = {
  function_not_found: 'see what is deployed with: fn list',
  function_unloadable: 'nothing was changed; mend the function and deploy again',
  unavailable: 'see which part is away with: fn status',
  no_capacity: 'see what runs with: fn status',
};

async function describeError(error: unknown): Promise<ErrorReport> {
  if (error instanceof CliError) {
    const { code, message, details, remedy, exitCode } = error;
    return { body: { code, message, ...(details ? { details } : {}) }, remedy, exitCode };
  }
  const { StokeError } = await import('../contracts/errors.ts');
  if (error instanceof StokeError) {
    const remedy = error.details?.remedy;
    return { body: error.toBody(), remedy: typeof remedy === 'string' ? remedy : remedies[error.code], exitCode: 1 };
  }
  const message = error instanceof Error ? error.message : String(error);
  return {
    body: { code: 'internal', message },
    remedy: 'this is not an error that fn knows; STOKE_DEBUG=1 shows where it comes from',
    exitCode: 1,
  };
}
