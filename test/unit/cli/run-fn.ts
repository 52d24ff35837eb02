/** Runs the real `fn` in a process of its own, as a person or a script would. */
import { execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const launcher = fileURLToPath(new URL('../../../services/cli/fn', import.meta.url));

export interface FnResult {
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stdoutBytes: Buffer;
  stderr: string;
}

export interface FnOptions {
  cwd: string;
  /** Keeps what fn compiled of itself; outside of `cwd`, which a test may deploy. */
  cache: string;
  env?: Record<string, string>;
  input?: string | Buffer;
  /** Called once it runs; `kill` sends a signal. */
  onStart?: (kill: (signal: NodeJS.Signals) => void) => void;
  /** Called with each piece of stdout or stderr. */
  onOutput?: (text: string) => void;
}

export function runFn(args: string[], options: FnOptions): Promise<FnResult> {
  const { NODE_EXTRA_CA_CERTS: _, ...inherited } = process.env;
  const own = { STOKE_RUN: join(options.cwd, 'run'), XDG_CACHE_HOME: options.cache, NO_COLOR: '1' };
  const child = spawn(launcher, args, { cwd: options.cwd, env: { ...inherited, ...own, ...options.env } });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  options.onStart?.((signal) => child.kill(signal));
  child.stdout.on('data', (chunk: Buffer) => {
    out.push(chunk);
    options.onOutput?.(chunk.toString());
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err.push(chunk);
    options.onOutput?.(chunk.toString());
  });
  child.stdin.end(options.input);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exitCode, signal) => {
      const stdoutBytes = Buffer.concat(out);
      const stderr = Buffer.concat(err).toString();
      resolve({ exitCode, signal, stdout: stdoutBytes.toString(), stdoutBytes, stderr });
    });
  });
}

/** What a bash script prints; `fn` is on its PATH. */
export async function runBash(script: string, env: Record<string, string>): Promise<string> {
  const PATH = `${dirname(launcher)}:${process.env.PATH}`;
  const { stdout } = await promisify(execFile)('bash', ['-c', script], { env: { ...process.env, ...env, PATH } });
  return stdout;
}

export interface TestFolder extends AsyncDisposable {
  readonly path: string;
  /** Writes files by their path in the folder. */
  write(files: Record<string, string | Buffer>): Promise<void>;
}

export async function makeTestFolder(): Promise<TestFolder> {
  const path = await mkdtemp(join(tmpdir(), 'stoke-cli-test-'));
  return {
    path,
    async write(files) {
      for (const [name, content] of Object.entries(files)) {
        await mkdir(dirname(join(path, name)), { recursive: true });
        await writeFile(join(path, name), content);
      }
    },
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true });
    },
  };
}
