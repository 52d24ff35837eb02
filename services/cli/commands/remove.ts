/** `fn remove`: takes a function away, with its versions and logs. */
import { Command } from 'commander';
import { printJson, printLine, runAction } from '../output.ts';

export function removeCommand(): Command {
  return new Command('remove')
    .alias('rm')
    .description('remove a function, its versions and its logs')
    .argument('<name>', 'the function')
    .option('--json', 'print JSON')
    .action(runAction(remove));
}

async function remove(name: string, options: { json?: boolean }): Promise<void> {
  const { findGateway } = await import('../gateway-client.ts');
  const answer = await findGateway().ok({ method: 'DELETE', path: `/api/v1/functions/${encodeURIComponent(name)}` });
  answer.resume();
  if (options.json) return printJson({ removed: name });
  printLine(`removed ${name}`);
}
