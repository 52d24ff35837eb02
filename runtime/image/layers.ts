/**
 * Applies one layer's archive to an empty directory, so that it can be a lower directory of an overlay: OCI whiteouts
 * become overlayfs ones. Written for archives of strangers: no entry is created through a symbolic link, and none that
 * is a device. The caller owns the directory, keeps others out of it, and throws it away when this fails.
 */
import * as fs from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { RuntimeError } from '../errors.ts';
import { interpretName, pathComponents, refuseEntry } from './layer-path.ts';
import { readTar, type TarEntry } from './tar.ts';

/** What extraction needs beyond Node: the privileged door passes it in, so that this folder stays free of system calls. */
export interface OverlayHooks {
  /** Makes a character device 0:0 at the path: to overlayfs, nothing is there. */
  mknodWhiteout(path: string): void;
  /** Sets `trusted.overlay.opaque=y`: the directory hides what the layers below have in it. */
  setOpaque(path: string): void;
}

export interface LayerLimits {
  /** Of the archive, uncompressed. */
  readonly bytes: number;
  readonly entries: number;
}

export interface AppliedLayer {
  entries: number;
  /** Sum of the files. */
  fileBytes: number;
}

/** Bodies up to this are written synchronously, which is several times faster; a larger one must not hold up the process. */
const synchronousBytes = 64 * 1024;
/** Longest that the process does nothing but extract. */
const sliceMs = 2;

const writeAsync = promisify(fs.write);

/**
 * @param root an empty directory that nobody else writes to
 * @throws RuntimeError `invalid_layer` naming the entry, `layer_too_large`, `storage_full`; what `archive` throws
 */
export async function applyLayer(
  archive: AsyncIterable<Uint8Array>,
  root: string,
  hooks: OverlayHooks,
  limits: LayerLimits,
): Promise<AppliedLayer> {
  const applying = new LayerApplication(root, hooks, limits);
  await readTar(archive, (entry, body) => applying.entry(entry, body));
  applying.finish();
  return applying.applied;
}

class LayerApplication {
  readonly applied: AppliedLayer = { entries: 0, fileBytes: 0 };
  readonly #root: string;
  readonly #hooks: OverlayHooks;
  readonly #limits: LayerLimits;
  /** Below the root: directories that are known to be real ones, whiteouts that were made, times to set at the end. */
  readonly #directories = new Set<string>(['']);
  readonly #whiteouts = new Set<string>();
  readonly #directoryTimes = new Map<string, number>();
  #sliceStartMs = performance.now();

  constructor(root: string, hooks: OverlayHooks, limits: LayerLimits) {
    this.#root = root;
    this.#hooks = hooks;
    this.#limits = limits;
  }

  async entry(entry: TarEntry, body: AsyncIterable<Buffer>): Promise<void> {
    this.applied.entries += 1;
    if (this.applied.entries > this.#limits.entries) {
      throw new RuntimeError('layer_too_large', `entry "${entry.path}": more than ${this.#limits.entries} entries`);
    }
    try {
      await this.#apply(entry, body);
    } catch (error) {
      throw nameFailure(entry.path, error);
    }
    if (performance.now() - this.#sliceStartMs > sliceMs) {
      await nextTurn();
      this.#sliceStartMs = performance.now();
    }
  }

  /** Directory times come last: every entry in a directory changes them. */
  finish(): void {
    for (const [path, mtimeMs] of this.#directoryTimes) fs.lutimesSync(this.#at(path), mtimeMs / 1000, mtimeMs / 1000);
  }

  async #apply(entry: TarEntry, body: AsyncIterable<Buffer>): Promise<void> {
    const name = interpretName(entry.path);
    if (name.kind === 'ignored') return;
    if (name.kind === 'opaque') return this.#opaque(entry, name.components);
    this.#makeParents(entry, name.components);
    const path = name.components.join('/');
    if (name.kind === 'whiteout') return this.#whiteout(path);
    switch (entry.type) {
      case 'directory':
        return this.#directory(entry, path);
      case 'file':
        return this.#file(entry, path, body);
      case 'symlink':
        return this.#symlink(entry, path);
      case 'hardlink':
        return this.#hardlink(entry, path);
      case 'character-device':
      case 'block-device':
      case 'fifo':
      case 'other':
        return refuseEntry(entry.path, `is a ${entry.type === 'other' ? 'kind of file we do not know' : entry.type}`);
    }
  }

  #directory(entry: TarEntry, path: string): void {
    const hidesLower = this.#whiteouts.has(path);
    const existing = this.#stat(path);
    if (existing && !existing.isDirectory()) this.#removeFile(path);
    if (!existing?.isDirectory()) fs.mkdirSync(this.#at(path), 0o700);
    this.#directories.add(path);
    if (hidesLower) this.#hooks.setOpaque(this.#at(path));
    fs.chownSync(this.#at(path), entry.uid, entry.gid);
    fs.chmodSync(this.#at(path), entry.mode);
    this.#directoryTimes.set(path, validTime(entry));
  }

  async #file(entry: TarEntry, path: string, body: AsyncIterable<Buffer>): Promise<void> {
    this.#makeRoom(entry, path);
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = fs.constants;
    const fd = fs.openSync(this.#at(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      for await (const chunk of body) {
        if (entry.sizeBytes <= synchronousBytes) writeWhole(fd, chunk);
        else await writeWholeAsync(fd, chunk);
      }
      this.applied.fileBytes += entry.sizeBytes;
      // Owner before mode: a change of owner clears the setuid bit.
      fs.fchownSync(fd, entry.uid, entry.gid);
      fs.fchmodSync(fd, entry.mode);
      fs.futimesSync(fd, validTime(entry) / 1000, validTime(entry) / 1000);
    } finally {
      fs.closeSync(fd);
    }
  }

  /** The target may be anything: it is followed only in a container, whose root this is. */
  #symlink(entry: TarEntry, path: string): void {
    if (entry.linkname === '' || entry.linkname.includes('\0')) refuseEntry(entry.path, 'a symbolic link to nothing');
    this.#makeRoom(entry, path);
    fs.symlinkSync(entry.linkname, this.#at(path));
    fs.lchownSync(this.#at(path), entry.uid, entry.gid);
    fs.lutimesSync(this.#at(path), validTime(entry) / 1000, validTime(entry) / 1000);
  }

  #hardlink(entry: TarEntry, path: string): void {
    const targetComponents = pathComponents(entry.linkname, entry.path);
    const target = targetComponents.join('/');
    const quoted = JSON.stringify(entry.linkname);
    for (let depth = 1; depth < targetComponents.length; depth += 1) {
      const parent = targetComponents.slice(0, depth).join('/');
      if (this.#stat(parent)?.isSymbolicLink()) refuseEntry(entry.path, `its target ${quoted} leads through a link`);
    }
    const existing = this.#whiteouts.has(target) ? undefined : this.#stat(target);
    if (!existing) refuseEntry(entry.path, `its target ${quoted} is not in this layer`);
    if (existing.isDirectory()) refuseEntry(entry.path, `its target ${quoted} is a directory`);
    if (target === path) return;
    this.#makeRoom(entry, path);
    fs.linkSync(this.#at(target), this.#at(path));
  }

  /** By the specification a whiteout hides lower layers only: what this layer has there stays, wherever it stands in the archive. */
  #whiteout(path: string): void {
    const existing = this.#stat(path);
    if (existing?.isDirectory()) this.#hooks.setOpaque(this.#at(path));
    if (existing) return;
    this.#hooks.mknodWhiteout(this.#at(path));
    this.#whiteouts.add(path);
  }

  #opaque(entry: TarEntry, components: string[]): void {
    // Overlayfs merges the roots of all layers, whatever attribute they have.
    if (components.length === 0) refuseEntry(entry.path, 'hides all layers below; build the image without them');
    this.#makeParents(entry, [...components, '']);
    this.#hooks.setOpaque(this.#at(components.join('/')));
  }

  /**
   * Makes the directories above an entry that the archive does not list.
   * POLICY: a link on the way is refused, also one that stays inside. No tool writes such archives, and the entry would
   * show up elsewhere than where it says.
   */
  #makeParents(entry: TarEntry, components: string[]): void {
    for (let depth = 1; depth < components.length; depth += 1) {
      const path = components.slice(0, depth).join('/');
      if (this.#directories.has(path)) continue;
      const existing = this.#whiteouts.has(path) ? undefined : this.#stat(path);
      if (existing?.isSymbolicLink()) refuseEntry(entry.path, `its path leads through the symbolic link "${path}"`);
      if (existing && !existing.isDirectory()) refuseEntry(entry.path, `"${path}" on its path is not a directory`);
      if (!existing) this.#impliedDirectory(path);
      this.#directories.add(path);
    }
  }

  #impliedDirectory(path: string): void {
    const hidesLower = this.#whiteouts.has(path);
    if (hidesLower) this.#removeFile(path);
    fs.mkdirSync(this.#at(path));
    // The mode of mkdir is cut by the umask.
    fs.chmodSync(this.#at(path), 0o755);
    if (hidesLower) this.#hooks.setOpaque(this.#at(path));
  }

  /** A later entry of the same name wins over a file, and is never written into it: it could have other links. */
  #makeRoom(entry: TarEntry, path: string): void {
    const existing = this.#stat(path);
    if (existing?.isDirectory()) refuseEntry(entry.path, `a ${entry.type} where this layer has a directory`);
    if (existing) this.#removeFile(path);
  }

  #removeFile(path: string): void {
    fs.unlinkSync(this.#at(path));
    this.#whiteouts.delete(path);
  }

  #stat(path: string): fs.Stats | undefined {
    return fs.lstatSync(this.#at(path), { throwIfNoEntry: false });
  }

  #at(path: string): string {
    return path === '' ? this.#root : `${this.#root}/${path}`;
  }
}

function validTime(entry: TarEntry): number {
  return Number.isFinite(entry.mtimeMs) ? entry.mtimeMs : 0;
}

function writeWhole(fd: number, chunk: Uint8Array): void {
  for (let at = 0; at < chunk.byteLength; ) at += fs.writeSync(fd, chunk, at);
}

async function writeWholeAsync(fd: number, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.byteLength; ) at += (await writeAsync(fd, chunk, at)).bytesWritten;
}

const nameErrors = new Set(['ENAMETOOLONG', 'ELOOP', 'EINVAL', 'EILSEQ', 'EMLINK', 'EOVERFLOW', 'ERR_OUT_OF_RANGE']);

/** What the file system says about an entry, with its name. */
function nameFailure(name: string, error: unknown): unknown {
  if (error instanceof RuntimeError || !(error instanceof Error)) return error;
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new RuntimeError('storage_full', `no space left while extracting entry "${name}"`, { cause: error });
  }
  if (!nameErrors.has(code)) return error;
  return new RuntimeError('invalid_layer', `entry ${JSON.stringify(name)}: ${error.message}`, {
    details: { entry: name },
    cause: error,
  });
}
