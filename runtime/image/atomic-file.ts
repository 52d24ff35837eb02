/** Files that are there whole or not at all, also after a power cut. */
import { mkdir, open, rename, rm } from 'node:fs/promises';

/** A new file with the data, on the disk when this returns. */
export async function writeDurably(path: string, data: Uint8Array): Promise<void> {
  const handle = await open(path, 'wx', 0o644);
  try {
    await handle.writeFile(data);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Replaces a file's content at once. `temporary` must be on the same file system, and nobody else's. */
export async function replaceDurably(path: string, data: Uint8Array, temporary: string): Promise<void> {
  // Of an attempt that was killed.
  await rm(temporary, { force: true });
  try {
    await writeDurably(temporary, data);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(path.slice(0, path.lastIndexOf('/')));
}

/** Names that were made, renamed or removed in the directory survive a power cut after this. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Removes all that is in a directory, and makes it if it is not there. */
export async function emptyDirectory(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
  await mkdir(path, { recursive: true, mode: 0o700 });
}
