/** `fn logs`: what a function wrote, and what the platform says of its instances. */
import { createInterface } from 'node:readline';
import { Command, InvalidArgumentError } from 'commander';
import type { LogEntry } from '../../contracts/invocation.ts';
import { printLine, runAction, style } from '../output.ts';

interface LogsOptions {
  follow?: boolean;
  invocation?: string;
  tail?: number;
  json?: boolean;
}

export function logsCommand(): Command {
  return new Command('logs')
    .description('show what a function wrote to its output')
    .argument('<name>', 'the function')
    .option('-f, --follow', 'keep going with what comes')
    .option('--invocation <id>', 'only this call (X-Fn-Invocation-Id of its answer)')
    .option('--tail <n>', 'only the last n entries', parseCount)
    .option('--json', 'print one JSON object per entry')
    .action(runAction(logs));
}

function parseCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('expected a whole number, 0 or more');
  return Number(text);
}

async function logs(name: string, options: LogsOptions): Promise<void> {
  const { connectionLost, findGateway } = await import('../gateway-client.ts');
  const { logEntrySchema } = await import('../../contracts/invocation.ts');
  const query = new URLSearchParams();
  if (options.invocation) query.set('invocation', options.invocation);
  if (options.tail !== undefined) query.set('tail', String(options.tail));
  if (options.follow) query.set('follow', 'true');
  const path = `/api/v1/functions/${encodeURIComponent(name)}/logs${query.size > 0 ? `?${query}` : ''}`;
  const answer = await findGateway().ok({ method: 'GET', path });
  // The answer, not the line reader, reports a broken connection: readline would end as if all had been said.
  const broken = new Promise<never>((_, reject) => answer.once('error', (cause) => reject(connectionLost(cause))));
  const printed = printLines(createInterface({ input: answer }), (line) => {
    if (options.json) printLine(line);
    else printEntry(logEntrySchema.parse(JSON.parse(line)));
  });
  await Promise.race([printed, broken]);
}

async function printLines(lines: AsyncIterable<string>, print: (line: string) => void): Promise<void> {
  for await (const line of lines) if (line !== '') print(line);
}

const streamColours = { stdout: 'green', stderr: 'yellow', system: 'magenta' } as const;

function printEntry(entry: LogEntry): void {
  const time = style('gray', new Date(entry.t).toISOString());
  const stream = style(streamColours[entry.stream], entry.stream.padEnd(6));
  for (const line of entry.text.replace(/\n$/, '').split('\n')) printLine(`${time} ${stream} ${line}`);
}
