/** `fn deploy`: makes a folder the newest version of its function. */
import { Command } from 'commander';
import type { Deployment, DeployProgress } from '../deploy/deploy.ts';
import { formatMs, formatSize, printJson, printLine, printNote, runAction, style } from '../output.ts';

interface CommandOptions {
  verify: boolean;
  json?: boolean;
}

export function deployCommand(): Command {
  return new Command('deploy')
    .description('deploy a folder as a new version')
    .argument('[dir]', 'the folder with fn.json', '.')
    .option('--no-verify', 'do not start an instance first to see that it loads')
    .option('--json', 'print JSON')
    .action(runAction(deploy));
}

async function deploy(folder: string, options: CommandOptions): Promise<void> {
  const { deployFolder } = await import('../deploy/deploy.ts');
  const { findGateway } = await import('../gateway-client.ts');
  const progress = new ProgressLine(process.stderr, process.stderr.isTTY && !options.json);
  const interrupt = new AbortController();
  const stop = (signal: NodeJS.Signals) => interrupt.abort(signal);
  // Once: who presses Ctrl-C again means it.
  for (const signal of endingSignals) process.once(signal, stop);
  try {
    const deployment = await deployFolder({
      folder,
      gateway: findGateway(),
      verify: options.verify,
      signal: interrupt.signal,
      onProgress: (step) => progress.show(describe(step)),
    });
    progress.clear();
    report(deployment, options);
  } catch (error) {
    progress.clear();
    if (!interrupt.signal.aborted) throw error;
    printNote('interrupted');
    // What a shell expects of a process that such a signal ended.
    process.exitCode = interrupt.signal.reason === 'SIGINT' ? 130 : 143;
  } finally {
    for (const signal of endingSignals) process.off(signal, stop);
  }
}

const endingSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

function report(deployment: Deployment, options: CommandOptions): void {
  for (const note of deployment.notes) printNote(`note: ${note}`);
  if (options.json) printJson(deployment);
  else printDeployment(deployment);
}

function printDeployment(deployment: Deployment): void {
  const sentBytes = deployment.layers.reduce((sum, layer) => sum + (layer.uploaded ? layer.sizeBytes : 0), 0);
  const name = style('bold', `${deployment.function}@${deployment.version}`);
  const verb = deployment.created ? 'deployed' : 'unchanged:';
  const sent = sentBytes > 0 ? `${formatSize(sentBytes)} sent` : 'nothing to send';
  const verified = deployment.verifyMs === null ? '' : `, first start ${formatMs(deployment.verifyMs)}`;
  printLine(`${verb} ${name} in ${formatMs(deployment.totalMs)} (${sent}${verified})`);
  printLine(`  digest  ${deployment.digest}`);
  printLine(`  entry   ${deployment.entry}`);
  printLine(`  url     ${style('cyan', deployment.url)}`);
}

function describe(progress: DeployProgress): string {
  switch (progress.stage) {
    case 'packing':
      return 'packing';
    case 'installing':
      return 'installing packages with npm';
    case 'verifying':
      return 'verifying';
    case 'uploading':
      return `uploading ${formatSize(progress.sentBytes)} of ${formatSize(progress.totalBytes)}`;
  }
}

/** One line of a terminal that is written over. */
class ProgressLine {
  readonly #stream: NodeJS.WriteStream;
  readonly #enabled: boolean;

  constructor(stream: NodeJS.WriteStream, enabled: boolean) {
    this.#stream = stream;
    this.#enabled = enabled;
  }

  show(text: string): void {
    if (this.#enabled) this.#stream.write(`\r\u001b[K${text}`);
  }

  clear(): void {
    if (this.#enabled) this.#stream.write('\r\u001b[K');
  }
}
