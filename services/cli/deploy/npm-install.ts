/**
 * Packages installed with npm and packed as a layer, kept below `<cache>/dependencies/<key>` for every later deploy.
 * Written once per key, by a rename: whoever finds the folder finds it whole.
 */
import { spawn } from 'node:child_process';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { digestSchema } from '../../contracts/daemon-api.ts';
import { CliError } from '../output.ts';
import { assertDeploySize } from './deploy-size.ts';
import { walkFolder } from './folder.ts';
import { type PackedLayer, packLayer } from './layer.ts';
import { withTemporaryFolder } from './temporary-folder.ts';

export interface NpmInstall {
  args: string[];
  files: Record<string, string>;
  key: string;
}

export interface InstallOptions {
  /** The cache of the command line. */
  cache: string;
  environment: NodeJS.ProcessEnv;
  signal?: AbortSignal | undefined;
  /** Called when npm has to run. */
  onInstall?: () => void;
}

const cachedLayerSchema = z.object({ digest: digestSchema, sizeBytes: z.int() });

/** @throws CliError with npm's output when it fails */
export async function installedLayer(install: NpmInstall, options: InstallOptions): Promise<PackedLayer> {
  const parent = join(options.cache, 'dependencies');
  const kept = join(parent, install.key);
  const found = await readKept(kept);
  if (found) return found;
  options.onInstall?.();
  await mkdir(parent, { recursive: true }).catch((cause: Error) => {
    throw new CliError(`cannot make ${parent}: ${cause.message}`, {
      remedy: 'XDG_CACHE_HOME names another place',
      cause,
    });
  });
  await withTemporaryFolder(parent, '.new-', async (folder) => {
    const layer = await installAndPack(install, folder, options);
    const { digest, sizeBytes } = layer;
    const result = join(folder, 'result');
    await writeFile(join(result, 'layer.json'), JSON.stringify({ digest, sizeBytes }));
    await rename(result, kept).catch((error: NodeJS.ErrnoException) => {
      // Another deploy was faster; its result is as good.
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  });
  const layer = await readKept(kept);
  if (layer) return layer;
  throw new CliError(`the installed packages vanished from ${kept}`, { remedy: 'deploy again' });
}

async function readKept(folder: string): Promise<PackedLayer | undefined> {
  try {
    const text = await readFile(join(folder, 'layer.json'), 'utf8');
    return { ...cachedLayerSchema.parse(JSON.parse(text)), file: join(folder, 'layer.tar') };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    if (!(error instanceof z.ZodError || error instanceof SyntaxError)) throw error;
    // A disk that filled up or a power cut leaves such a thing; it can be made again.
    await rm(folder, { recursive: true, force: true });
    return undefined;
  }
}

async function installAndPack(install: NpmInstall, folder: string, options: InstallOptions): Promise<PackedLayer> {
  const project = join(folder, 'project');
  // Optional packages may all be of other platforms: then npm makes no node_modules.
  await mkdir(join(project, 'node_modules'), { recursive: true });
  await mkdir(join(folder, 'result'));
  await Promise.all(
    // Mode: .npmrc may hold a token.
    Object.entries(install.files).map(([name, text]) => writeFile(join(project, name), text, { mode: 0o600 })),
  );
  await runNpm(install.args, project, options);
  await mkdir(join(project, 'node_modules'), { recursive: true });
  const entries = await walkFolder(project, { below: 'node_modules', skip: () => false });
  assertDeploySize(entries.flatMap((entry) => (entry.type === 'file' ? [entry] : [])));
  return packLayer(entries, join(folder, 'result', 'layer.tar'), options.signal);
}

function runNpm(args: string[], folder: string, options: InstallOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const npm = spawn('npm', args, {
      cwd: folder,
      env: withoutOuterNpm(options.environment),
      stdio: ['ignore', 'pipe', 'pipe'],
      signal: options.signal,
    });
    const output: Buffer[] = [];
    npm.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    npm.stderr.on('data', (chunk: Buffer) => output.push(chunk));
    npm.on('error', (cause) => reject(options.signal?.aborted ? cause : npmMissing(cause)));
    npm.on('close', (code) => {
      if (code === 0) resolve();
      else reject(npmFailed(args, Buffer.concat(output).toString('utf8'), code));
    });
  });
}

/** What npm tells the scripts that it runs (`npm start`) would tell this npm to work on that other project. */
function withoutOuterNpm(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const outer = /^(?:npm_(?:package|lifecycle)_.*|npm_config_local_prefix|npm_command|INIT_CWD)$/;
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !outer.test(name)));
}

function npmMissing(cause: Error): CliError {
  return new CliError(`npm cannot be run: ${cause.message}`, {
    code: 'npm_missing',
    remedy: 'install npm (it comes with Node), or deploy the folder with its node_modules',
    cause,
  });
}

/** Enough for npm's error and its reason, which come first. */
const shownLines = 12;

function npmFailed(args: string[], output: string, code: number | null): CliError {
  const [said = ''] = output.trim().split(/\nnpm error (?:Clean install a project|Usage:)/);
  const shown = said.split('\n').slice(0, shownLines).join('\n');
  return new CliError(`npm ${args[0]} failed${code === null ? '' : ` with exit code ${code}`}; nothing was changed`, {
    code: 'npm_failed',
    details: { command: ['npm', ...args], output },
    remedy: shown,
  });
}
