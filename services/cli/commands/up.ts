/** `fn up`: runs the platform on this machine. */
import { Command } from 'commander';
import { printLine, runAction, style } from '../output.ts';

export function upCommand(): Command {
  return new Command('up')
    .description('run the platform on this machine, in the foreground')
    .option('-d, --detach', 'return when it is ready; fn down ends it')
    .option('--json', 'print JSON, one event a line')
    .addHelpText(
      'after',
      `
Configuration is taken from the environment, among others:
  STOKE_HOME    all state            (/var/lib/stoke)
  STOKE_RUN     sockets              (/run/stoke)
  STOKE_LISTEN  the gateway's address (127.0.0.1:8080; port 0 takes a free one)`,
    )
    .action(runAction(up));
}

async function up(options: { detach?: boolean; json?: boolean }): Promise<void> {
  if (options.detach) return upDetached(options);
  const { launch } = await import('../supervisor/launch.ts');
  const { asCliError, reportEvents, reportFailure } = await import('../supervisor/report.ts');
  const { reportDetached } = await import('../supervisor/detach.ts');
  const { ShutdownError } = await import('../supervisor/supervisor.ts');
  const json = options.json === true;
  try {
    const { supervisor, url } = await launch(reportEvents({ json }));
    printReady({ url, pid: process.pid, json, stop: process.stdin.isTTY ? 'Ctrl-C' : 'fn down' });
    reportDetached({ ready: { url, pid: process.pid } });
    await supervisor.ended();
  } catch (error) {
    // Stopped before it was ready: what was asked for has happened.
    if (error instanceof ShutdownError) return;
    const { message, code, remedy, exitCode } = asCliError(error);
    reportDetached({ error: { message, code, exitCode, ...(remedy ? { remedy } : {}) } });
    reportFailure(error, { json });
  }
}

async function upDetached(options: { json?: boolean }): Promise<void> {
  const { readConfig } = await import('../supervisor/launch.ts');
  const { startDetached } = await import('../supervisor/detach.ts');
  const { url, pid } = await startDetached(readConfig());
  printReady({ url, pid, json: options.json === true, stop: 'fn down' });
}

function printReady({ url, pid, json, stop }: { url: string; pid: number; json: boolean; stop: string }): void {
  if (json) {
    printLine(JSON.stringify({ event: 'ready', url, pid }));
    return;
  }
  printLine(`${style('green', 'ready')} at ${style('bold', url)} (pid ${pid}); end it with ${stop}`);
  printLine('  make a function   fn init hello');
  printLine('  deploy it         fn deploy hello');
  printLine('  call it           fn invoke hello');
}
