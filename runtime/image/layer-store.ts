/**
 * Layers, applied: `<directory>/layers/<hex>/root` is a layer's tree, to be mounted read-only below overlays, and
 * `layer.json` beside it says how far it can be trusted. The layer's archive is in the blob store.
 * One writer: the daemon's image store.
 *
 * POLICY, power cuts: archives are brought to the disk before a layer is taken for stored; trees are not, for that is
 * one fsync per file. A tree is trusted while the machine has not been booted since it was made (`bootId`), or once the
 * file system was synchronised as a whole after it was made (`durable`), which happens some seconds later, for all new
 * layers at once. Any other tree is thrown away at the next start and made again from its archive.
 *
 * POLICY, killed processes: a tree is made in `<directory>/partial/` and renamed with its `layer.json` in it, so that a
 * name below `layers/` is always a whole tree as far as this boot goes. Opening empties `partial/`.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { RuntimeError } from '../errors.ts';
import { digestFromHex, digestHex, parseDigest } from '../spec/digest.ts';
import { emptyDirectory } from './atomic-file.ts';
import { type BlobStore, chunksOf } from './blob-store.ts';
import { applyLayer, type LayerLimits, type OverlayHooks } from './layers.ts';

export interface LayerHooks extends OverlayHooks {
  /** Brings all of the path's file system to the disk (`syncfs`), without holding up this process. */
  syncFileSystem(path: string): Promise<void>;
}

export interface LayerStored {
  digest: string;
  /** Of the archive. */
  sizeBytes: number;
  /** False when it was there before. */
  created: boolean;
}

const layerRecordSchema = z.object({
  sizeBytes: z.int(),
  appliedAtMs: z.number(),
  /** Identifies the boot in which the tree was made. */
  bootId: z.string(),
  /** The tree is on the disk. */
  durable: z.boolean(),
});
type LayerRecord = z.infer<typeof layerRecordSchema>;

/** Deploys come in bursts, and one synchronisation serves all of a burst. */
const syncDelayMs = 5000;
const bootIdPath = '/proc/sys/kernel/random/boot_id';

export class LayerStore {
  readonly #layers: string;
  readonly #partial: string;
  readonly #blobs: BlobStore;
  readonly #hooks: LayerHooks;
  readonly #bootId: string;
  readonly #records = new Map<string, LayerRecord>();
  /** Puts in flight, by digest. They end with whether the layer is there now. */
  readonly #puts = new Map<string, Promise<boolean>>();
  #storing = 0;
  #syncTimer: NodeJS.Timeout | undefined;
  #syncing: Promise<void> = Promise.resolve();

  private constructor(directory: string, blobs: BlobStore, hooks: LayerHooks, bootId: string) {
    this.#layers = `${directory}/layers`;
    this.#partial = `${directory}/partial/layers`;
    this.#blobs = blobs;
    this.#hooks = hooks;
    this.#bootId = bootId;
  }

  /**
   * @param required layers that images refer to: made again from their archives if their trees are gone
   * @param bootId of this machine; tests pass another to stand for a reboot
   */
  static async open(
    directory: string,
    blobs: BlobStore,
    hooks: LayerHooks,
    required: Iterable<string>,
    bootId?: string,
  ): Promise<LayerStore> {
    const store = new LayerStore(directory, blobs, hooks, bootId ?? (await readFile(bootIdPath, 'utf8')).trim());
    await mkdir(store.#layers, { recursive: true, mode: 0o700 });
    await emptyDirectory(store.#partial);
    await store.#recover(new Set(required));
    return store;
  }

  has(digest: string): boolean {
    return this.#records.has(digest);
  }

  /** Whether archives may be in the blob store whose layers are not known yet. */
  get isStoring(): boolean {
    return this.#storing > 0;
  }

  list(): string[] {
    return [...this.#records.keys()];
  }

  /** Size of the archive. @throws RuntimeError `layer_missing` */
  sizeBytes(digest: string): number {
    return this.#record(digest).sizeBytes;
  }

  appliedAtMs(digest: string): number {
    return this.#record(digest).appliedAtMs;
  }

  /** The tree, for `lowerdir`. @throws RuntimeError `layer_missing` */
  directory(digest: string): string {
    this.#record(digest);
    return `${this.#layers}/${digestHex(digest)}/root`;
  }

  /**
   * Stores an uncompressed archive and applies it, in one pass over the stream. Of several puts of one digest at a time
   * the first does the work; if it fails, the next one does. A stream that was refused is left to its owner, not
   * destroyed: an HTTP server can still answer on it.
   * @throws RuntimeError `digest_mismatch`, `invalid_layer`, `layer_too_large`, `storage_full`; what the stream throws.
   * Nothing of a layer that was refused is left.
   */
  async put(digest: string, stream: AsyncIterable<Uint8Array>, limits: LayerLimits): Promise<LayerStored> {
    parseDigest(digest);
    for (let other = this.#puts.get(digest); other; other = this.#puts.get(digest)) await other;
    const known = this.#records.get(digest);
    if (known) {
      await drain(stream, limits.bytes);
      return { digest, sizeBytes: known.sizeBytes, created: false };
    }
    const work = this.#store(digest, stream, limits);
    const settled = work.then(
      () => true,
      () => false,
    );
    this.#puts.set(digest, settled);
    try {
      return await work;
    } finally {
      this.#puts.delete(digest);
    }
  }

  /** As `put`, for an archive made on this machine, whose digest its maker does not know yet. */
  add(stream: AsyncIterable<Uint8Array>, limits: LayerLimits): Promise<LayerStored> {
    return this.#store(undefined, stream, limits);
  }

  /** Removes the tree; the archive is the blob store's. */
  async remove(digest: string): Promise<void> {
    if (!this.#records.delete(digest)) return;
    await this.#discard(digestHex(digest));
  }

  /** Waits for a synchronisation under way. Trees not yet synchronised are made again after a reboot. */
  async close(): Promise<void> {
    clearTimeout(this.#syncTimer);
    this.#syncTimer = undefined;
    await this.#syncing;
  }

  /** Brings all trees to the disk now. */
  async sync(): Promise<void> {
    const fresh = [...this.#records].filter(([, record]) => !record.durable);
    if (fresh.length === 0) return;
    await this.#hooks.syncFileSystem(this.#layers);
    for (const [digest, record] of fresh) {
      // It may have been removed, or made anew, meanwhile.
      if (this.#records.get(digest) !== record) continue;
      await this.#writeRecord(`${this.#layers}/${digestHex(digest)}`, { ...record, durable: true });
      if (this.#records.get(digest) === record) this.#records.set(digest, { ...record, durable: true });
    }
  }

  async #store(
    expected: string | undefined,
    stream: AsyncIterable<Uint8Array>,
    limits: LayerLimits,
  ): Promise<LayerStored> {
    this.#storing += 1;
    const tree = await this.#makeDirectory();
    const blob = await this.#blobs.begin(limits);
    try {
      await applyLayer(tee(chunksOf(stream), blob.write.bind(blob)), `${tree}/root`, this.#hooks, limits);
      const { digest, sizeBytes } = await blob.commit(expected);
      return { digest, sizeBytes, created: await this.#publish(tree, digest, sizeBytes) };
    } catch (error) {
      await blob.abort();
      await rm(tree, { recursive: true, force: true });
      throw error;
    } finally {
      this.#storing -= 1;
    }
  }

  /** Makes a tree from an archive that is in the blob store. */
  async #applyStored(digest: string): Promise<void> {
    const sizeBytes = await this.#blobs.size(digest);
    if (sizeBytes === undefined) throw missing(digest);
    const tree = await this.#makeDirectory();
    try {
      const unlimited = { bytes: sizeBytes, entries: Number.POSITIVE_INFINITY };
      await applyLayer(await this.#blobs.get(digest), `${tree}/root`, this.#hooks, unlimited);
      await this.#publish(tree, digest, sizeBytes);
    } catch (error) {
      await rm(tree, { recursive: true, force: true });
      throw error;
    }
  }

  async #makeDirectory(): Promise<string> {
    const tree = `${this.#partial}/${randomUUID()}`;
    await mkdir(`${tree}/root`, { recursive: true, mode: 0o755 });
    return tree;
  }

  /** @returns false when another put of the same content was first */
  async #publish(tree: string, digest: string, sizeBytes: number): Promise<boolean> {
    const record: LayerRecord = { sizeBytes, appliedAtMs: Date.now(), bootId: this.#bootId, durable: false };
    await this.#writeRecord(tree, record);
    if (this.#records.has(digest)) {
      await rm(tree, { recursive: true, force: true });
      return false;
    }
    // Set before the rename: from here on a second put of this content must find it.
    this.#records.set(digest, record);
    try {
      await rename(tree, `${this.#layers}/${digestHex(digest)}`);
    } catch (error) {
      this.#records.delete(digest);
      throw error;
    }
    this.#scheduleSync();
    return true;
  }

  async #recover(required: Set<string>): Promise<void> {
    const names = await readdir(this.#layers);
    for (const hex of names) {
      const digest = /^[0-9a-f]{64}$/.test(hex) ? digestFromHex(hex) : undefined;
      const record = digest && (await readRecord(`${this.#layers}/${hex}/layer.json`));
      if (digest && record && (record.durable || record.bootId === this.#bootId)) {
        this.#records.set(digest, record);
        continue;
      }
      await this.#discard(hex);
      if (digest) required.add(digest);
    }
    for (const digest of required) {
      if (!this.#records.has(digest) && (await this.#blobs.has(digest))) await this.#applyStored(digest);
    }
    if ([...this.#records.values()].some((record) => !record.durable)) this.#scheduleSync();
  }

  /** Renames first, so that a tree half removed is never below `layers/`. */
  async #discard(name: string): Promise<void> {
    const away = `${this.#partial}/${randomUUID()}`;
    await rename(`${this.#layers}/${name}`, away);
    await rm(away, { recursive: true, force: true });
  }

  #scheduleSync(): void {
    if (this.#syncTimer) return;
    this.#syncTimer = setTimeout(() => {
      this.#syncTimer = undefined;
      // A failure costs only that these layers are made again after a reboot; the next one tries again.
      this.#syncing = this.#syncing.then(() => this.sync()).catch(() => undefined);
    }, syncDelayMs).unref();
  }

  async #writeRecord(directory: string, record: LayerRecord): Promise<void> {
    const temporary = `${directory}/layer.json.new`;
    await writeFile(temporary, JSON.stringify(record));
    await rename(temporary, `${directory}/layer.json`);
  }

  #record(digest: string): LayerRecord {
    const record = this.#records.get(digest);
    if (!record) throw missing(digest);
    return record;
  }
}

function missing(digest: string): RuntimeError {
  return new RuntimeError('layer_missing', `layer ${digest} is not in the store; put it first`, {
    details: { digest },
  });
}

/** Undefined for one that is not there or was cut by a power failure. */
async function readRecord(path: string): Promise<LayerRecord | undefined> {
  try {
    return layerRecordSchema.safeParse(JSON.parse(await readFile(path, 'utf8'))).data;
  } catch (error) {
    if (error instanceof SyntaxError || ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) {
      return undefined;
    }
    throw error;
  }
}

async function* tee(
  stream: AsyncIterable<Uint8Array>,
  sink: (chunk: Uint8Array) => Promise<void>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of stream) {
    await sink(chunk);
    yield chunk;
  }
}

/** Reads a stream that nobody needs, so that its sender can finish. */
async function drain(stream: AsyncIterable<Uint8Array>, maxBytes: number): Promise<void> {
  let bytes = 0;
  for await (const chunk of chunksOf(stream)) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) throw new RuntimeError('layer_too_large', `content is longer than ${maxBytes} bytes`);
  }
}
