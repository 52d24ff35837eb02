/** An image store in a directory of its own, with the kernel's own whiteouts, for one test. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImageStore } from '../../../runtime/image/image-store.ts';
import type { LayerHooks } from '../../../runtime/image/layer-store.ts';
import { packTar, type TarInput } from '../../../runtime/image/tar.ts';
import { digestOf } from '../../../runtime/spec/digest.ts';
import { mknod, setXattr, syncFileSystem } from '../../../runtime/sys/syscalls.ts';

export const limits = { bytes: 64 * 1024 * 1024, entries: 10_000 };
export const mtimeMs = 1_700_000_000_000;

const S_IFCHR = 0o020000;
export const hooks: LayerHooks = {
  mknodWhiteout: (path) => mknod(path, S_IFCHR, 0, 0),
  setOpaque: (path) => setXattr(path, 'trusted.overlay.opaque', Buffer.from('y')),
  syncFileSystem: async (path) => syncFileSystem(path),
};

export interface Scratch extends AsyncDisposable {
  readonly directory: string;
  readonly store: ImageStore;
  /** Closes the store and opens it again, as a new process would; with a boot id, as after a reboot. */
  reopen(bootId?: string): Promise<ImageStore>;
}

export async function scratchStore(): Promise<Scratch> {
  const directory = await mkdtemp(`${tmpdir()}/stoke-images-`);
  let store = await ImageStore.open(directory, hooks);
  return {
    directory,
    get store() {
      return store;
    },
    async reopen(bootId) {
      await store.close();
      store = await ImageStore.open(directory, hooks, bootId === undefined ? {} : { bootId });
      return store;
    },
    async [Symbol.asyncDispose]() {
      await store.close();
      await rm(directory, { recursive: true });
    },
  };
}

export function file(path: string, text: string, more: { mode?: number; uid?: number; gid?: number } = {}): TarInput {
  return { type: 'file', path, mode: 0o644, mtimeMs, body: Buffer.from(text), ...more };
}

export function directory(path: string, mode = 0o755): TarInput {
  return { type: 'directory', path, mode, mtimeMs };
}

export function link(type: 'symlink' | 'hardlink', path: string, linkname: string): TarInput {
  return { type, path, mode: 0o777, mtimeMs, linkname };
}

export async function archiveOf(entries: TarInput[]): Promise<{ bytes: Buffer; digest: string }> {
  const bytes = Buffer.concat(await packTar(entries).toArray());
  return { bytes, digest: digestOf(bytes) };
}

/** Bytes as a stream would bring them. */
export async function* streamOf(bytes: Buffer, size = 64 * 1024): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.byteLength; at += size) yield bytes.subarray(at, at + size);
}

/** Puts a layer of the entries. @returns its digest */
export async function putEntries(store: ImageStore, entries: TarInput[]): Promise<string> {
  const { bytes, digest } = await archiveOf(entries);
  await store.putLayer(digest, streamOf(bytes), limits);
  return digest;
}

/** Every file of a store but the marker of its format, to see that nothing changed or was left. */
export async function filesOf(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
  return files.map((path) => path.slice(directory.length + 1)).filter((path) => path !== 'oci-layout');
}
