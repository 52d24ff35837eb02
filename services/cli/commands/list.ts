/** `fn list`: what is deployed. */
import { Command } from 'commander';
import { printJson, printLine, runAction, table } from '../output.ts';

export function listCommand(): Command {
  return new Command('list')
    .alias('ls')
    .description('list the deployed functions')
    .option('--json', 'print JSON')
    .action(runAction(list));
}

async function list(options: { json?: boolean }): Promise<void> {
  const { z } = await import('zod');
  const { functionSummarySchema } = await import('../../contracts/management-api.ts');
  const { findGateway } = await import('../gateway-client.ts');
  const gateway = findGateway();
  const schema = z.object({ functions: z.array(functionSummarySchema) });
  const { functions } = await gateway.json(schema, { method: 'GET', path: '/api/v1/functions' });
  if (options.json) return printJson({ functions });
  if (functions.length === 0) return printLine('nothing is deployed; make a function with: fn init hello');
  table([
    ['NAME', 'VERSION', 'RUNTIME', 'MEMORY', 'UPDATED', 'URL'],
    ...functions.map((each) => [
      each.name,
      String(each.version),
      each.runtime,
      each.memory,
      new Date(each.updatedAtMs).toISOString().slice(0, 19).replace('T', ' '),
      gateway.url + each.path,
    ]),
  ]);
}
