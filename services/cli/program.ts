/**
 * The command tree: which commands there are, and how a wrong command line is answered. The commands' files hold only
 * their options; what they do is imported when they run, so that `fn --help` starts fast.
 */
import { Command, CommanderError } from 'commander';
import { completionCommand } from './commands/completion.ts';
import { deployCommand } from './commands/deploy.ts';
import { doctorCommand } from './commands/doctor.ts';
import { downCommand } from './commands/down.ts';
import { initCommand } from './commands/init.ts';
import { inspectCommand } from './commands/inspect.ts';
import { invokeCommand } from './commands/invoke.ts';
import { listCommand } from './commands/list.ts';
import { logsCommand } from './commands/logs.ts';
import { removeCommand } from './commands/remove.ts';
import { startCommand } from './commands/start.ts';
import { statusCommand } from './commands/status.ts';
import { upCommand } from './commands/up.ts';
import { CliError, reportError } from './output.ts';

const version = '0.1.0';

/** Groups of the help text, in its order. */
const groups: [heading: string, commands: () => Command[]][] = [
  ['Functions:', () => [initCommand(), deployCommand(), invokeCommand(), logsCommand()]],
  ['Deployed functions:', () => [listCommand(), inspectCommand(), removeCommand()]],
  ['Platform:', () => [upCommand(), startCommand(), downCommand(), statusCommand(), doctorCommand()]],
  ['Shell:', () => [completionCommand(createProgram)]],
];

/** The whole tree. It throws `CommanderError` instead of ending the process. */
export function createProgram(): Command {
  const program = new Command('fn')
    .description('Serverless functions on your own machines, each in its own container.')
    .version(version, '-V, --version')
    .helpCommand(false)
    .configureOutput({ writeErr: () => undefined })
    .configureHelp({ showGlobalOptions: false })
    .exitOverride();
  for (const [heading, commands] of groups) {
    for (const command of commands()) {
      program.addCommand(command.copyInheritedSettings(program).helpGroup(heading));
    }
  }
  return program;
}

/** Runs one command line; the exit code is in `process.exitCode` afterwards. */
export async function runProgram(args: readonly string[]): Promise<void> {
  const program = createProgram();
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return;
    if (error instanceof CommanderError && error.code === 'commander.help') {
      process.stderr.write(program.helpInformation());
      process.exitCode = 2;
      return;
    }
    await reportError(error instanceof CommanderError ? usageError(error) : error, { json: args.includes('--json') });
  }
}

function usageError(error: CommanderError): CliError {
  const [fact = '', ...hints] = error.message.replace(/^error: /, '').split('\n');
  const remedy = [...hints.map((hint) => hint.replace(/^\((.*)\)$/, '$1').toLowerCase()), 'see: fn --help'].join('\n');
  return new CliError(fact, { exitCode: 2, remedy });
}
