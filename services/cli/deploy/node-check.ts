/** Asks Node itself, in a process of its own, whether it can parse a module. For the few that are in doubt. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModuleKind } from './module-source.ts';
import { readProblem, type SyntaxProblem } from './syntax-error.ts';
import { withTemporaryFolder } from './temporary-folder.ts';

const extensions = { module: 'mjs', commonjs: 'cjs', unknown: 'js' } as const;

/** @returns the problem, or undefined when there is none */
export function checkWithNode(
  source: string,
  kind: ModuleKind,
  options: { temporary: string; signal?: AbortSignal | undefined },
): Promise<SyntaxProblem | undefined> {
  return withTemporaryFolder(options.temporary, 'check-', async (folder) => {
    const file = join(folder, `module.${extensions[kind]}`);
    await writeFile(file, source);
    return parse(file, source, options.signal);
  });
}

function parse(file: string, source: string, signal: AbortSignal | undefined): Promise<SyntaxProblem | undefined> {
  const { NODE_EXTRA_CA_CERTS: _, NODE_OPTIONS: __, ...env } = process.env;
  return new Promise((resolve, reject) => {
    execFile(process.execPath, ['--check', file], { env, signal }, (error, _stdout, stderr) => {
      if (!error) resolve(undefined);
      else if (stderr.includes('SyntaxError')) resolve(readProblem(source, stderr, 'v8'));
      else reject(error);
    });
  });
}
