/** A layer: an uncompressed tar of files below `var/task`, the same bytes for the same content, on any machine. */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { packTar, type TarInput } from '../../../runtime/oci.ts';
import { CliError } from '../output.ts';
import type { FolderEntry } from './folder.ts';

export type LayerEntry =
  | FolderEntry
  /** A file whose content was made here. */
  | { readonly type: 'made'; readonly path: string; readonly executable: boolean; readonly content: Buffer };

export interface PackedLayer {
  readonly digest: string;
  readonly sizeBytes: number;
  /** The tar. */
  readonly file: string;
}

/** Files up to this size are read at once: a stream each would cost more than the bytes. */
const wholeFileBytes = 256 * 1024;

/**
 * Packs the entries, which are sorted by path, to `file`. Owner, times and modes are the same for everyone: root,
 * 1970, and 0755 or 0644 by whether a file can be executed.
 */
export async function packLayer(
  entries: readonly LayerEntry[],
  file: string,
  signal?: AbortSignal,
): Promise<PackedLayer> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  const measured = async function* (tar: AsyncIterable<Buffer>) {
    for await (const chunk of tar) {
      hash.update(chunk);
      sizeBytes += chunk.byteLength;
      yield chunk;
    }
  };
  try {
    await pipeline(packTar(tarEntries(entries)), measured, createWriteStream(file), signal ? { signal } : {});
  } catch (error) {
    throw signal?.aborted ? error : packingError(error);
  }
  return { digest: `sha256:${hash.digest('hex')}`, sizeBytes, file };
}

const anonymous = { uid: 0, gid: 0, mtimeMs: 0 } as const;

async function* tarEntries(entries: readonly LayerEntry[]): AsyncGenerator<TarInput> {
  yield { ...anonymous, path: 'var', type: 'directory', mode: 0o755 };
  yield { ...anonymous, path: 'var/task', type: 'directory', mode: 0o755 };
  for (const entry of entries) yield await tarEntry(entry);
}

async function tarEntry(entry: LayerEntry): Promise<TarInput> {
  const common = { ...anonymous, path: `var/task/${entry.path}` };
  switch (entry.type) {
    case 'directory':
      return { ...common, type: 'directory', mode: 0o755 };
    case 'symlink':
      return { ...common, type: 'symlink', mode: 0o777, linkname: entry.linkname };
    case 'made':
      return { ...common, type: 'file', mode: fileMode(entry), body: entry.content };
    case 'file': {
      const { source, sizeBytes } = entry;
      if (sizeBytes <= wholeFileBytes) {
        return { ...common, type: 'file', mode: fileMode(entry), body: await readFile(source) };
      }
      return { ...common, type: 'file', mode: fileMode(entry), sizeBytes, body: () => createReadStream(source) };
    }
  }
}

function fileMode(entry: { executable: boolean }): number {
  return entry.executable ? 0o755 : 0o644;
}

function packingError(cause: unknown): CliError {
  const { code, message, path } = cause as NodeJS.ErrnoException;
  if (code === 'ENOSPC') {
    return new CliError('no space for the packed function', { remedy: 'make room, or set TMPDIR', cause });
  }
  const what = path ? `"${path}" cannot be packed: ${message}` : `the function cannot be packed: ${message}`;
  return new CliError(what, { remedy: 'a file that changes or goes meanwhile does this; deploy again', cause });
}
