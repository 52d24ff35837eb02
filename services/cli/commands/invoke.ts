/** `fn invoke`: calls a function and shows its answer. */
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { Command, InvalidArgumentError } from 'commander';
import { CliError, printJson, printNote, runAction, style } from '../output.ts';

interface InvokeOptions {
  data?: string;
  header: Record<string, string[]>;
  path?: string;
  method?: string;
  verbose?: boolean;
  json?: boolean;
}

export function invokeCommand(): Command {
  return new Command('invoke')
    .description('call a function')
    .argument('<name>', 'the function')
    .option('-d, --data <data>', 'body of the request: text, @file, or - for standard input')
    .option('-H, --header <name:value>', 'header of the request; may be repeated', collectHeader, {})
    .option('-p, --path <path>', 'path and query below the function', parsePath)
    .option('-X, --method <method>', 'HTTP method; POST with data, else GET', (text) => text.toUpperCase())
    .option('-v, --verbose', 'show status, headers, kind of start and times')
    .option('--json', 'print status, headers, times and body as JSON')
    .action(runAction(invoke));
}

function collectHeader(text: string, headers: Record<string, string[]>): Record<string, string[]> {
  const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):\s*(.*?)\s*$/.exec(text);
  if (!match) throw new InvalidArgumentError('expected name:value');
  const [, name = '', value = ''] = match;
  const key = name.toLowerCase();
  return { ...headers, [key]: [...(headers[key] ?? []), value] };
}

function parsePath(text: string): string {
  if (/[\s#]/.test(text)) throw new InvalidArgumentError('expected a path such as /users?limit=3');
  return text.startsWith('/') || text.startsWith('?') ? text : `/${text}`;
}

async function invoke(name: string, options: InvokeOptions): Promise<void> {
  const { connectionLost, findGateway } = await import('../gateway-client.ts');
  const body = options.data === undefined ? undefined : await readData(options.data);
  const startedAt = performance.now();
  const answer = await findGateway().send({
    method: options.method ?? (body ? 'POST' : 'GET'),
    path: `/fn/${encodeURIComponent(name)}${options.path ?? ''}`,
    headers: requestHeaders(options.header, body),
    ...(body ? { body } : {}),
  });
  if (options.verbose) printHead(answer);
  try {
    await showAnswer(answer, options.json === true);
  } catch (error) {
    throw error instanceof CliError || !answer.errored ? error : connectionLost(error);
  }
  if (options.verbose) printNote(`< ${(performance.now() - startedAt).toFixed(1)} ms in all, as seen from here`);
}

/** What `--data` stands for. Whole in memory: the gateway takes 6 MiB. */
async function readData(data: string): Promise<Buffer> {
  if (data === '-') {
    const { readAll } = await import('../gateway-client.ts');
    return readAll(process.stdin);
  }
  if (!data.startsWith('@')) return Buffer.from(data);
  try {
    return await readFile(data.slice(1));
  } catch (cause) {
    throw new CliError(`cannot read the data: ${(cause as Error).message}`, {
      remedy: '--data @file sends a file; --data - sends standard input',
      exitCode: 2,
      cause,
    });
  }
}

function requestHeaders(given: Record<string, string[]>, body: Buffer | undefined): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = { ...given };
  if (!body) return headers;
  headers['content-type'] ??= isJson(body) ? 'application/json' : 'text/plain';
  headers['content-length'] = String(body.byteLength);
  return headers;
}

function isJson(body: Buffer): boolean {
  try {
    JSON.parse(body.toString('utf8'));
    return true;
  } catch {
    return false; // That it does not parse is the answer.
  }
}

/** The platform's own errors become an error here too; everything else is the function's answer and goes to stdout. */
async function showAnswer(answer: IncomingMessage, json: boolean): Promise<void> {
  const status = answer.statusCode ?? 500;
  if (json) return showAsJson(answer, status);
  if (status < 400) return pipeOut(answer);
  const { parseError, readAll } = await import('../gateway-client.ts');
  const body = await readAll(answer);
  const error = parseError(body);
  if (error) throw error;
  process.stdout.write(body);
  throw new CliError(`the function answered ${status} ${answer.statusMessage}`, { code: 'function_status' });
}

/** Bytes to stdout as they come, at the speed of whoever reads them. */
async function pipeOut(answer: IncomingMessage): Promise<void> {
  let last: number | undefined;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    last = chunk.at(-1);
    if (process.stdout.write(chunk)) continue;
    await new Promise<void>((resolve) => process.stdout.once('drain', resolve));
  }
  // On a terminal the shell's prompt would follow in the same line; in a pipe the bytes are the function's alone.
  if (process.stdout.isTTY && last !== undefined && last !== 0x0a) process.stdout.write('\n');
}

async function showAsJson(answer: IncomingMessage, status: number): Promise<void> {
  const { parseError, readAll } = await import('../gateway-client.ts');
  const body = await readAll(answer);
  const error = status >= 400 ? parseError(body) : undefined;
  if (status >= 400) process.exitCode = 1;
  printJson({
    ...(error ? { error: error.toBody() } : {}),
    status,
    headers: answer.headers,
    start: answer.headers['x-fn-start'] ?? null,
    timings: parseServerTiming(String(answer.headers['server-timing'] ?? '')),
    ...describeBody(body),
  });
}

/** `queue;dur=0.3, total;dur=2` as `{ queue: 0.3, total: 2 }`: milliseconds by stage. */
export function parseServerTiming(header: string): Record<string, number> {
  const timings: Record<string, number> = {};
  for (const match of header.matchAll(/([^\s,;]+)\s*;[^,]*?\bdur=([\d.]+)/g))
    timings[match[1] ?? ''] = Number(match[2]);
  return timings;
}

/** A body in JSON: parsed if it is JSON, else as text, else as base64; `encoding` says which. */
function describeBody(body: Buffer): { body: unknown; encoding: 'json' | 'utf8' | 'base64' } {
  if (isJson(body)) return { body: JSON.parse(body.toString('utf8')), encoding: 'json' };
  const text = body.toString('utf8');
  if (Buffer.from(text).equals(body)) return { body: text, encoding: 'utf8' };
  return { body: body.toString('base64'), encoding: 'base64' };
}

function printHead(answer: IncomingMessage): void {
  printNote(`< ${style('bold', `${answer.statusCode} ${answer.statusMessage}`, process.stderr)}`);
  for (let index = 0; index < answer.rawHeaders.length; index += 2) {
    printNote(`< ${answer.rawHeaders[index]}: ${answer.rawHeaders[index + 1]}`);
  }
  const timings = Object.entries(parseServerTiming(String(answer.headers['server-timing'] ?? '')));
  const times = timings.map(([stage, ms]) => `${stage} ${ms} ms`).join(', ');
  printNote(`< start: ${answer.headers['x-fn-start'] ?? 'unknown'}${times ? `; ${times}` : ''}`);
}
