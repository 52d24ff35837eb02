/** `fn init`: a new function from a template. */
import { Argument, Command, Option } from 'commander';
import { printJson, printLine, runAction, style } from '../output.ts';

const templates = ['typescript', 'javascript'] as const;
export type Template = (typeof templates)[number];

interface InitOptions {
  template: Template;
  name?: string;
  json?: boolean;
}

export function initCommand(): Command {
  return new Command('init')
    .description('make a new function in a folder')
    .addArgument(new Argument('[dir]', 'the folder; made when it is missing').default('.'))
    .addOption(new Option('-t, --template <language>', 'what to begin with').choices(templates).default('typescript'))
    .option('--name <name>', "the function's name; from the folder's when absent")
    .option('--json', 'print JSON')
    .action(runAction(init));
}

async function init(folder: string, options: InitOptions): Promise<void> {
  const { createFunction } = await import('../new-function.ts');
  const created = await createFunction({ folder, template: options.template, name: options.name });
  if (options.json) return printJson(created);
  printLine(`made ${style('bold', created.name)} in ${created.folder}: ${created.files.join(', ')}`);
  printLine();
  printLine('next:');
  if (folder !== '.') printLine(`  cd ${folder}`);
  printLine('  fn deploy');
  printLine(`  fn invoke ${created.name}`);
}
