/**
 * Tar streams in and out. The only file that knows tar-stream. Nothing here touches a file system: paths and links
 * come as they are written in the archive, and whoever extracts must judge them (`layer-path.ts`).
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract, type Header, type Pack, pack } from 'tar-stream';
import { RuntimeError } from '../errors.ts';

/** `other` is everything without a POSIX type, for example GNU sparse files. */
export type TarEntryType =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'hardlink'
  | 'character-device'
  | 'block-device'
  | 'fifo'
  | 'other';

/** An entry as found in an archive. */
export interface TarEntry {
  readonly path: string;
  readonly type: TarEntryType;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeMs: number;
  /** Length of the body; 0 for all but files. */
  readonly sizeBytes: number;
  /** Target of a link, otherwise empty. */
  readonly linkname: string;
  /** From `SCHILY.xattr.*` records. Values that are not UTF-8 do not survive tar-stream's decoding. */
  readonly xattrs: Readonly<Record<string, string>>;
}

interface TarMetadata {
  path: string;
  mode: number;
  uid?: number;
  gid?: number;
  /** Written in whole seconds. */
  mtimeMs: number;
}
/** An entry to be written. */
export type TarInput = TarMetadata &
  (
    | { type: 'file'; body: Uint8Array }
    /** `body` is called when the entry's turn comes and must give exactly `sizeBytes`. */
    | { type: 'file'; sizeBytes: number; body: () => Readable }
    | { type: 'directory' }
    | { type: 'symlink' | 'hardlink'; linkname: string }
  );

/**
 * An archive of the entries, in their order. The same entries give the same bytes: nothing is taken from the clock or
 * from this machine. Bodies are streamed. The stream fails with what an entry's body failed with.
 */
export function packTar(entries: Iterable<TarInput> | AsyncIterable<TarInput>): Readable {
  return Readable.from(archive(entries), { objectMode: false });
}

async function* archive(entries: Iterable<TarInput> | AsyncIterable<TarInput>): AsyncGenerator<Buffer> {
  const packing = pack();
  const feeding = feed(packing, entries).catch((error: unknown) => {
    packing.destroy(error instanceof Error ? error : new Error(String(error)));
  });
  try {
    for await (const chunk of packing) yield chunk as Buffer;
  } finally {
    packing.destroy();
    await feeding;
  }
}

async function feed(packing: Pack, entries: Iterable<TarInput> | AsyncIterable<TarInput>): Promise<void> {
  for await (const entry of entries) await writeEntry(packing, entry);
  packing.finalize();
}

function writeEntry(packing: Pack, entry: TarInput): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error | null) => (error ? reject(error) : resolve());
    if (entry.type !== 'file') {
      packing.entry(headerOf(entry), done);
    } else if (entry.body instanceof Uint8Array) {
      packing.entry(headerOf(entry), entry.body, done);
    } else {
      const sink = packing.entry(headerOf(entry), done);
      pipeline(entry.body(), sink as unknown as NodeJS.WritableStream).catch(reject);
    }
  });
}

function headerOf(entry: TarInput): Partial<Header> & Pick<Header, 'name'> {
  const sizeBytes = entry.type !== 'file' ? 0 : 'sizeBytes' in entry ? entry.sizeBytes : entry.body.byteLength;
  return {
    name: entry.path,
    type: entry.type === 'hardlink' ? 'link' : entry.type,
    // tar-stream takes a mode of 0 for none given; a bit above the permissions, which it cuts off, keeps it.
    mode: entry.mode | 0o100000,
    uid: entry.uid ?? 0,
    gid: entry.gid ?? 0,
    mtime: new Date(Math.floor(entry.mtimeMs / 1000) * 1000),
    size: sizeBytes,
    ...('linkname' in entry ? { linkname: entry.linkname } : {}),
  };
}

/**
 * Reads an archive to its end and hands each entry to `onEntry`, one after the other. What `onEntry` leaves of a body
 * is skipped.
 * @throws RuntimeError `invalid_layer` for bytes that are no tar; else what `source` or `onEntry` threw
 */
export async function readTar(
  source: AsyncIterable<Uint8Array>,
  onEntry: (entry: TarEntry, body: AsyncIterable<Buffer>) => Promise<void> | void,
): Promise<void> {
  const extracting = extract();
  /** What the parser failed with in the middle of a body, where `onEntry` meets it. */
  let damage: unknown;
  let foreign: unknown;
  const blame = (error: unknown): never => {
    if (error !== damage) foreign ??= error;
    throw error;
  };
  const noteDamage = (error: unknown): never => {
    damage ??= error;
    throw error;
  };
  const pumping = pipeline(watched(source, blame), extracting as unknown as NodeJS.WritableStream);
  // It is awaited below, but may fail first.
  pumping.catch(() => undefined);
  try {
    for await (const entry of extracting) {
      const { header } = entry as unknown as RawEntry;
      const body = watched(entry as AsyncIterable<Buffer>, noteDamage);
      await (async () => onEntry(entryOf(header), body))().catch(blame);
      entry.resume();
    }
    await pumping;
  } catch (error) {
    if (foreign !== undefined) throw foreign;
    throw new RuntimeError('invalid_layer', `not a tar archive, or a damaged one: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** What tar-stream gives, by its code rather than its types: a type may be missing, and the pax records are strings. */
interface RawHeader extends Omit<Header, 'type' | 'linkname' | 'pax'> {
  type: Header['type'] | null;
  linkname: string | null;
  pax: Record<string, string> | null;
}
interface RawEntry {
  readonly header: RawHeader;
}

/** Tells whose error it is: each passes through here first. */
async function* watched<T>(source: AsyncIterable<T>, note: (error: unknown) => never): AsyncGenerator<T> {
  try {
    yield* source;
  } catch (error) {
    note(error);
  }
}

const entryTypes: Record<Header['type'], TarEntryType> = {
  file: 'file',
  'contiguous-file': 'file',
  directory: 'directory',
  symlink: 'symlink',
  link: 'hardlink',
  'character-device': 'character-device',
  'block-device': 'block-device',
  fifo: 'fifo',
};

function entryOf(header: RawHeader): TarEntry {
  const pax = header.pax ?? {};
  const isSparse = Object.keys(pax).some((key) => key.startsWith('GNU.sparse.'));
  const type = isSparse || !header.type ? 'other' : (entryTypes[header.type] ?? 'other');
  return {
    path: header.name,
    type,
    mode: wholeNumber(header, 'mode', header.mode) & 0o7777,
    uid: wholeNumber(header, 'uid', pax.uid ?? header.uid),
    gid: wholeNumber(header, 'gid', pax.gid ?? header.gid),
    mtimeMs: pax.mtime === undefined ? header.mtime.getTime() : Number(pax.mtime) * 1000,
    sizeBytes: type === 'file' ? wholeNumber(header, 'size', header.size) : 0,
    linkname: header.linkname ?? '',
    xattrs: xattrsOf(pax),
  };
}

function wholeNumber(header: RawHeader, field: string, value: number | string | undefined): number {
  const number = Number(value ?? 0);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  throw new RuntimeError('invalid_layer', `entry "${header.name}": ${field} "${value}" is not a whole number`);
}

function xattrsOf(pax: Record<string, string>): Record<string, string> {
  const prefix = 'SCHILY.xattr.';
  const found = Object.entries(pax).filter(([key]) => key.startsWith(prefix));
  return Object.fromEntries(found.map(([key, value]) => [key.slice(prefix.length), value]));
}
