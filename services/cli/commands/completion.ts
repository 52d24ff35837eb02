/** `fn completion`: a completion script for a shell, made from the command tree. */
import { Argument, Command } from 'commander';
import { printJson, runAction } from '../output.ts';

/** `tree` makes the tree that is to be completed; called only when a script is asked for. */
export function completionCommand(tree: () => Command): Command {
  return new Command('completion')
    .description('print a completion script for your shell')
    .addArgument(new Argument('<shell>', 'the shell').choices(['bash', 'zsh', 'fish']))
    .option('--json', 'print JSON')
    .addHelpText('after', '\nFor bash, add to ~/.bashrc:  source <(fn completion bash)')
    .action(
      runAction(async (shell: string, options: { json?: boolean }) => {
        const { completionScript, describeTree } = await import('../completion-script.ts');
        const script = completionScript(shell as 'bash' | 'zsh' | 'fish', describeTree(tree()));
        if (options.json) printJson({ shell, script });
        else process.stdout.write(script);
      }),
    );
}
