/** The function's own files as they go into its code layer: modules compiled or checked, everything else as it is. */
import { readFile } from 'node:fs/promises';
import { posix } from 'node:path';
import { CliError } from '../output.ts';
import { parsePackageJson } from './fn-json.ts';
import type { FolderEntry } from './folder.ts';
import type { LayerEntry } from './layer.ts';
import { checkJavaScript, compileTypeScript, type ModuleKind, moduleKind } from './module-source.ts';
import { checkWithNode } from './node-check.ts';
import { jsxRemedy, syntaxError } from './syntax-error.ts';

/** POLICY: larger JavaScript is a bundler's output, checked by it, and would take swc most of a deploy's time. */
const checkedJavaScriptBytes = 1024 * 1024;

export interface CodeFiles {
  readonly entries: LayerEntry[];
  /** Some were TypeScript: in the layer, `.ts` files hold plain JavaScript. */
  readonly stripped: boolean;
}

/**
 * @param temporary a folder for what is needed on the way
 * @throws CliError `syntax_error` with file, line, column and excerpt
 */
export async function prepareCode(
  entries: readonly FolderEntry[],
  options: { temporary: string; signal?: AbortSignal | undefined },
): Promise<CodeFiles> {
  const packageTypes = await readPackageTypes(entries);
  const prepared: LayerEntry[] = [];
  let stripped = false;
  for (const entry of entries) {
    if (entry.type !== 'file' || isInPackages(entry.path)) {
      prepared.push(entry);
      continue;
    }
    if (/\.[jt]sx$/.test(entry.path)) {
      const remedy = `${jsxRemedy}\nif it is no part of the function, name it in .fnignore`;
      throw new CliError(`"${entry.path}" cannot be deployed as it is`, { code: 'jsx_unsupported', remedy });
    }
    if (/\.d\.[cm]?ts$/.test(entry.path)) continue;
    const kind = moduleKind(entry.path, nearestType(entry.path, packageTypes));
    if (/\.[cm]?ts$/.test(entry.path)) {
      stripped = true;
      prepared.push(await compile(entry, kind));
    } else {
      if (/\.[cm]?js$/.test(entry.path)) await check(entry, kind, options);
      prepared.push(entry);
    }
  }
  return { entries: prepared, stripped };
}

type FileEntry = Extract<FolderEntry, { type: 'file' }>;

async function compile(entry: FileEntry, kind: ModuleKind): Promise<LayerEntry> {
  const source = await readFile(entry.source, 'utf8');
  const compiled = compileTypeScript(`/var/task/${entry.path}`, source, kind);
  if (compiled.outcome === 'failed') throw syntaxError(entry.path, source, compiled.problem);
  const code = compiled.outcome === 'ok' ? compiled.code : source;
  return { type: 'made', path: entry.path, executable: entry.executable, content: Buffer.from(code) };
}

async function check(
  entry: FileEntry,
  kind: ModuleKind,
  options: { temporary: string; signal?: AbortSignal | undefined },
): Promise<void> {
  if (entry.sizeBytes > checkedJavaScriptBytes) return;
  const source = await readFile(entry.source, 'utf8');
  const checked = checkJavaScript(source, kind);
  if (checked.outcome === 'ok') return;
  const problem = checked.outcome === 'failed' ? checked.problem : await checkWithNode(source, kind, options);
  if (problem) throw syntaxError(entry.path, source, problem);
}

/** Within a `node_modules`, which Node takes as published: neither compiled nor checked. */
function isInPackages(path: string): boolean {
  return path.split('/').slice(0, -1).includes('node_modules');
}

/** `type` of each package.json, by its folder. */
async function readPackageTypes(entries: readonly FolderEntry[]): Promise<Map<string, string | undefined>> {
  const types = new Map<string, string | undefined>();
  for (const entry of entries) {
    if (entry.type !== 'file' || posix.basename(entry.path) !== 'package.json' || isInPackages(entry.path)) continue;
    const text = await readFile(entry.source, 'utf8');
    types.set(posix.dirname(entry.path), parsePackageJson(entry.path, text).type);
  }
  return types;
}

function nearestType(path: string, types: ReadonlyMap<string, string | undefined>): string | undefined {
  for (let folder = posix.dirname(path); ; folder = posix.dirname(folder)) {
    if (types.has(folder)) return types.get(folder);
    if (folder === '.') return undefined;
  }
}
