/** `fn inspect`: one function's settings and versions. */
import { Command } from 'commander';
import type { FunctionDetail } from '../../contracts/management-api.ts';
import { printJson, printLine, runAction, table } from '../output.ts';

export function inspectCommand(): Command {
  return new Command('inspect')
    .description("show a function's settings and versions")
    .argument('<name>', 'the function')
    .option('--json', 'print JSON')
    .action(runAction(inspect));
}

async function inspect(name: string, options: { json?: boolean }): Promise<void> {
  const { functionDetailSchema } = await import('../../contracts/management-api.ts');
  const { findGateway } = await import('../gateway-client.ts');
  const gateway = findGateway();
  const path = `/api/v1/functions/${encodeURIComponent(name)}`;
  const detail = await gateway.json(functionDetailSchema, { method: 'GET', path });
  if (options.json) return printJson(detail);
  printDetail(detail, gateway.url);
}

function printDetail(detail: FunctionDetail, url: string): void {
  const { config } = detail;
  const facts: [string, string][] = [
    ['name', detail.name],
    ['url', url + detail.path],
    ['version', String(detail.current)],
    ['digest', detail.digest],
    ['image', detail.image],
    ['runtime', config.runtime],
    ['entry', detail.entry],
    ['memory', config.memory],
    ['cpu', String(config.cpu)],
    ['timeout', `${config.timeout} s`],
    ['concurrency', `${config.concurrency} per instance, at most ${config.maxInstances} instances`],
    ['tmp', config.tmp],
    ['env', Object.keys(config.env).join(', ') || 'none'],
  ];
  for (const [label, value] of facts) printLine(`${`${label}:`.padEnd(13)}${value}`);
  printLine();
  table([
    ['VERSION', 'DEPLOYED', 'DIGEST'],
    ...detail.versions
      .toReversed()
      .map((each) => [
        `${each.version}${each.version === detail.current ? ' (current)' : ''}`,
        new Date(each.createdAtMs).toISOString().slice(0, 19).replace('T', ' '),
        each.digest,
      ]),
  ]);
}
