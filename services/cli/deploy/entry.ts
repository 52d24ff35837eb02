/** Which module of a folder has the handler. Pure. */
import { posix } from 'node:path';
import { CliError } from '../output.ts';
import type { PackageJson } from './fn-json.ts';

const extensions = ['ts', 'mts', 'cts', 'js', 'mjs', 'cjs'] as const;
const names = ['index', 'src/index', 'handler', 'src/handler', 'main', 'src/main'];
const loadable = new RegExp(`\\.(?:${extensions.join('|')})$`);

/** Looked for in this order when neither `fn.json` nor `package.json` names a module. */
export const conventionalEntries: readonly string[] = names.flatMap((name) =>
  extensions.map((extension) => `${name}.${extension}`),
);

/**
 * @param files paths of the folder's files
 * @param configured `entry` of `fn.json`
 * @returns the entry module's path, relative to the folder
 * @throws CliError `invalid_config` with what was looked for
 */
export function findEntry(
  files: ReadonlySet<string>,
  configured: string | undefined,
  packageJson: PackageJson | undefined,
): string {
  if (configured !== undefined) return checkConfigured(files, configured);
  const named = [packageJson?.main, packageJson?.module].flatMap((path) => (path ? [posix.normalize(path)] : []));
  const found = [...named, ...conventionalEntries].find((path) => files.has(path) && loadable.test(path));
  if (found !== undefined) return found;
  const tried = [...named, ...names.map((name) => `${name}.{${extensions.join(',')}}`)];
  throw new CliError('no entry module found', {
    code: 'invalid_config',
    details: { tried: [...named, ...conventionalEntries] },
    remedy: `looked for ${tried.join(', ')}\nname yours in fn.json: "entry": "<file>"`,
  });
}

function checkConfigured(files: ReadonlySet<string>, configured: string): string {
  const entry = posix.normalize(configured);
  if (!files.has(entry)) {
    const near = extensions.map((extension) => `${entry.replace(loadable, '')}.${extension}`);
    const meant = near.find((path) => files.has(path));
    throw invalidEntry(configured, 'no such file in the folder', meant && `did you mean "${meant}"?`);
  }
  if (loadable.test(entry)) return entry;
  throw invalidEntry(configured, `expected a module: ${extensions.map((extension) => `.${extension}`).join(', ')}`);
}

function invalidEntry(entry: string, reason: string, remedy?: string): CliError {
  return new CliError(`fn.json: entry "${entry}": ${reason}`, {
    code: 'invalid_config',
    details: { entry },
    ...(remedy ? { remedy } : {}),
  });
}
