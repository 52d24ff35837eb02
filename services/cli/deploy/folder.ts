/** What is in a function's folder: walked in a fixed order, and refused where a container could not have it. */
import { lstat, readdir, readlink, realpath } from 'node:fs/promises';
import { dirname, join, posix, sep } from 'node:path';
import { CliError } from '../output.ts';
import type { Ignore } from './ignore.ts';

interface EntryPlace {
  /** Relative to the folder, with `/`. */
  readonly path: string;
  /** Where it lies on this machine. */
  readonly source: string;
}
export type FolderEntry =
  | (EntryPlace & { readonly type: 'file'; readonly sizeBytes: number; readonly executable: boolean })
  | (EntryPlace & { readonly type: 'directory' })
  | (EntryPlace & { readonly type: 'symlink'; readonly linkname: string });

export interface WalkOptions {
  /** What to leave out. */
  skip: Ignore;
  /** Where in the folder to begin, for example `node_modules`; all of it when absent. */
  below?: string;
}

/**
 * Everything in the folder, parents before children, sorted by path.
 * @throws CliError for what cannot be part of a function: links out of the folder, sockets, devices
 */
export async function walkFolder(folder: string, options: WalkOptions): Promise<FolderEntry[]> {
  const root = await realpath(folder).catch((cause: NodeJS.ErrnoException) => {
    const what = cause.code === 'ENOENT' ? `there is no folder ${folder}` : `cannot read ${folder}: ${cause.message}`;
    throw new CliError(what, { code: 'invalid_folder', remedy: 'make a function with: fn init <dir>', cause });
  });
  const entries: FolderEntry[] = [];
  if (options.below) entries.push(await readEntry(root, options.below));
  if (!options.below || entries[0]?.type === 'directory') await walk(root, options.below ?? '', options.skip, entries);
  // By code unit, so that no locale has a say in a digest.
  return entries.sort((a, b) => (a.path < b.path ? -1 : 1));
}

async function walk(root: string, folder: string, skip: Ignore, entries: FolderEntry[]): Promise<void> {
  const found = await readdir(join(root, folder), { withFileTypes: true }).catch((cause: NodeJS.ErrnoException) =>
    refuse(folder || '.', `cannot be read: ${cause.message}`, undefined, cause),
  );
  const kept = found
    .map((each) => ({ path: posix.join(folder, each.name), isFolder: each.isDirectory() }))
    .filter(({ path, isFolder }) => !skip(path, isFolder));
  const here = await Promise.all(kept.map(({ path }) => readEntry(root, path)));
  entries.push(...here);
  for (const entry of here) if (entry.type === 'directory') await walk(root, entry.path, skip, entries);
}

async function readEntry(root: string, path: string): Promise<FolderEntry> {
  const name = posix.basename(path);
  if (name.includes('\uFFFD')) refuse(path, 'its name is not UTF-8', 'rename it');
  // OCI image-spec, layer: such a file would delete its namesake.
  if (name.startsWith('.wh.')) refuse(path, 'names that begin with ".wh." mark deletions in image layers', 'rename it');
  const source = join(root, path);
  const status = await lstat(source);
  if (status.isDirectory()) return { path, source, type: 'directory' };
  if (status.isSymbolicLink()) return { path, source, type: 'symlink', linkname: await checkLink(root, path) };
  if (!status.isFile()) refuse(path, 'it is neither a file, a folder nor a link', 'remove it, or name it in .fnignore');
  const executable = (status.mode & 0o111) !== 0;
  return { path, source, type: 'file', sizeBytes: status.size, executable };
}

/** @returns the link's target, which is relative and stays in the folder */
async function checkLink(root: string, path: string): Promise<string> {
  const target = await readlink(join(root, path));
  const remedy = 'replace the link by what it points to, or name it in .fnignore';
  if (target.startsWith('/')) refuse(path, `it is a link to the absolute path ${target}`, remedy);
  const lexical = posix.normalize(posix.join(posix.dirname(path), target));
  if (isOutside(lexical)) refuse(path, `it is a link out of the folder, to ${target}`, remedy);
  // Links on the way may lead elsewhere than the text says. One that leads nowhere is harmless.
  const real = await realpath(join(root, dirname(path), target)).catch(() => undefined);
  if (real !== undefined && real !== root && !real.startsWith(root + sep)) {
    refuse(path, `it is a link out of the folder, to ${real}`, remedy);
  }
  return target;
}

function isOutside(path: string): boolean {
  return path === '..' || path.startsWith('../');
}

function refuse(path: string, reason: string, remedy?: string, cause?: unknown): never {
  throw new CliError(`"${path}" cannot be deployed: ${reason}`, {
    code: 'invalid_folder',
    details: { path },
    cause,
    ...(remedy ? { remedy } : {}),
  });
}
