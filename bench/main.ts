/**
 * `npm run bench -- <name>… [--n N] [--json]`: runs benchmarks one after the other, prints each result and stores it in
 * `bench/results/<name>.json`. A missed budget is reported and is no failure.
 */
import { parseArgs } from 'node:util';
import { cold } from './cold.ts';
import { deploy } from './deploy.ts';
import { memory } from './memory.ts';
import type { Bench } from './support/bench.ts';
import { describeCommit, describeMachine } from './support/machine.ts';
import { type Report, renderReport, storeReport } from './support/report.ts';
import { warm } from './warm.ts';

const benches: Readonly<Record<string, Bench>> = { cold, warm, memory, deploy };

const usage = 'npm run bench -- <name>... [--n N] [--json]';

function help(): string {
  const lines = Object.entries(benches).map(
    ([name, { summary, counts, defaultN }]) => `  ${name.padEnd(8)} ${summary}\n           --n ${defaultN}: ${counts}`,
  );
  return [usage, '', ...lines, '', 'Needs root, as fn up does. Results go to bench/results/<name>.json.'].join('\n');
}

interface Request {
  readonly names: readonly string[];
  readonly n: number | undefined;
  readonly json: boolean;
}

/** @throws Error that says what is wrong with the command line */
function readRequest(args: readonly string[]): Request {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { n: { type: 'string' }, json: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  for (const name of positionals) {
    if (!Object.hasOwn(benches, name)) throw new Error(`benchmark "${name}": want ${Object.keys(benches).join(', ')}`);
  }
  const n = values.n === undefined ? undefined : Number(values.n);
  if (n !== undefined && !(Number.isInteger(n) && n >= 1))
    throw new Error(`--n "${values.n}": want a whole number from 1`);
  return { names: positionals, n, json: values.json };
}

async function runBench(name: string, request: Request, signal: AbortSignal): Promise<Report> {
  const bench = benches[name] as Bench;
  const n = request.n ?? bench.defaultN;
  const before = {
    name,
    command: `npm run bench -- ${name} --n ${n}`,
    startedAt: new Date().toISOString(),
    n,
    machine: describeMachine(),
    commit: describeCommit(),
  };
  const startedAt = performance.now();
  const progress = showProgress(name);
  const measured = await bench.run({ n, signal, progress }).finally(() => progress(''));
  return { ...before, tookS: (performance.now() - startedAt) / 1000, ...measured };
}

/** One line of a terminal that is written over; nothing where nobody watches. */
function showProgress(name: string): (text: string) => void {
  return (text) => {
    if (process.stderr.isTTY) process.stderr.write(text === '' ? '\r\u001b[K' : `\r\u001b[K${name}: ${text}`);
  };
}

class InterruptedError extends Error {
  override name = 'InterruptedError';
}

/** Where it happened says something of a defect, and nothing of a Ctrl-C. */
function describe(error: unknown): string {
  if (error instanceof InterruptedError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

async function main(): Promise<number> {
  let request: Request;
  try {
    request = readRequest(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`error: ${(error as Error).message}\n  ${usage}\n`);
    return 2;
  }
  if (request.names.length === 0) {
    process.stdout.write(`${help()}\n`);
    return 0;
  }
  if (process.geteuid?.() !== 0) {
    process.stderr.write('error: containers need root, and this is not root\n  run it with sudo\n');
    return 1;
  }
  const interrupt = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => interrupt.abort(new InterruptedError(`ended by ${name}`)));
  }
  for (const name of request.names) {
    const report = await runBench(name, request, interrupt.signal);
    const file = storeReport(report);
    process.stdout.write(`${request.json ? JSON.stringify(report, undefined, 2) : renderReport(report)}\n\n`);
    process.stderr.write(`stored in ${file}\n`);
  }
  return 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`error: ${describe(error)}\n`);
  process.exitCode = 1;
}
