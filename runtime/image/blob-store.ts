/**
 * Content-addressed blobs: `<directory>/blobs/sha256/<hex>`, as an OCI image layout has them. A blob is there whole and
 * verified, or not at all: it is written to `<directory>/partial/` and renamed once it is on the disk.
 * One process at a time opens a directory for writing; opening removes what an earlier one left unfinished.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { RuntimeError } from '../errors.ts';
import { DigestHasher, digestFromHex, digestHex, digestOf, requireDigest } from '../spec/digest.ts';
import { emptyDirectory, syncDirectory, writeDurably } from './atomic-file.ts';

export interface BlobInfo {
  readonly digest: string;
  readonly sizeBytes: number;
}

export interface BlobLimits {
  /** A longer stream is refused before it fills the disk. */
  readonly bytes?: number;
}

export class BlobStore {
  readonly #blobs: string;
  readonly #partial: string;

  private constructor(directory: string) {
    this.#blobs = `${directory}/blobs/sha256`;
    this.#partial = `${directory}/partial/blobs`;
  }

  static async open(directory: string): Promise<BlobStore> {
    const store = new BlobStore(directory);
    await mkdir(store.#blobs, { recursive: true, mode: 0o700 });
    await emptyDirectory(store.#partial);
    return store;
  }

  /**
   * Stores a stream under the digest that it must have.
   * @throws RuntimeError `digest_mismatch`, `layer_too_large`, `storage_full`; what the stream throws
   */
  async put(stream: AsyncIterable<Uint8Array>, expectedDigest: string, limits: BlobLimits = {}): Promise<BlobInfo> {
    digestHex(expectedDigest);
    const writer = await this.begin(limits);
    try {
      for await (const chunk of chunksOf(stream)) await writer.write(chunk);
      return await writer.commit(expectedDigest);
    } catch (error) {
      await writer.abort();
      throw error;
    }
  }

  /** Stores bytes that are in memory. Costs nothing when they are there already. */
  async putBytes(bytes: Uint8Array): Promise<BlobInfo> {
    const info = { digest: digestOf(bytes), sizeBytes: bytes.byteLength };
    if (await this.has(info.digest)) return info;
    const temporary = this.#temporary();
    try {
      await writeDurably(temporary, bytes);
      await rename(temporary, this.path(info.digest));
    } catch (error) {
      await rm(temporary, { force: true });
      throw nameFullDisk(error);
    }
    await syncDirectory(this.#blobs);
    return info;
  }

  /** A blob to be written piece by piece; it must be ended by `commit` or `abort`. */
  async begin(limits: BlobLimits = {}): Promise<BlobWriter> {
    const temporary = this.#temporary();
    return new BlobWriter(await open(temporary, 'wx', 0o644), temporary, limits, async (digest) => {
      await rename(temporary, this.path(digest));
      await syncDirectory(this.#blobs);
    });
  }

  async has(digest: string): Promise<boolean> {
    return (await this.size(digest)) !== undefined;
  }

  /** In bytes; undefined when it is not there. */
  async size(digest: string): Promise<number | undefined> {
    try {
      return (await stat(this.path(digest))).size;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** @throws RuntimeError `blob_missing`; `digest_mismatch` when the disk has lost bits */
  async read(digest: string): Promise<Buffer> {
    try {
      const bytes = await readFile(this.path(digest));
      requireDigest(digestOf(bytes), digest);
      return bytes;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      throw new RuntimeError('blob_missing', `blob ${digest} is not in the store`, { details: { digest } });
    }
  }

  /** Its bytes, unverified: whoever trusts them hashes them on the way. @throws RuntimeError `blob_missing` */
  async get(digest: string, range: { start?: number; end?: number } = {}): Promise<Readable> {
    if (!(await this.has(digest))) {
      throw new RuntimeError('blob_missing', `blob ${digest} is not in the store`, { details: { digest } });
    }
    return createReadStream(this.path(digest), { ...range, highWaterMark: 256 * 1024 });
  }

  async list(): Promise<string[]> {
    return (await readdir(this.#blobs)).filter((name) => /^[0-9a-f]{64}$/.test(name)).map(digestFromHex);
  }

  /** When it was stored; undefined when it is not there. */
  async storedAtMs(digest: string): Promise<number | undefined> {
    const found = await stat(this.path(digest)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    return found?.mtimeMs;
  }

  /** Whether it was there. Streams that read it go on. */
  async remove(digest: string): Promise<boolean> {
    if (!(await this.has(digest))) return false;
    await rm(this.path(digest), { force: true });
    return true;
  }

  path(digest: string): string {
    return `${this.#blobs}/${digestHex(digest)}`;
  }

  #temporary(): string {
    return `${this.#partial}/${randomUUID()}`;
  }
}

/** A blob on its way into the store. */
export class BlobWriter {
  readonly #handle: FileHandle;
  readonly #temporary: string;
  readonly #limits: BlobLimits;
  readonly #publish: (digest: string) => Promise<void>;
  readonly #hasher = new DigestHasher();
  #ended = false;

  /** For `BlobStore.begin`. */
  constructor(handle: FileHandle, temporary: string, limits: BlobLimits, publish: (digest: string) => Promise<void>) {
    this.#handle = handle;
    this.#temporary = temporary;
    this.#limits = limits;
    this.#publish = publish;
  }

  async write(chunk: Uint8Array): Promise<void> {
    const total = this.#hasher.sizeBytes + chunk.byteLength;
    const allowed = this.#limits.bytes ?? Number.POSITIVE_INFINITY;
    if (total > allowed) throw new RuntimeError('layer_too_large', `content is longer than ${allowed} bytes`);
    this.#hasher.update(chunk);
    try {
      for (let at = 0; at < chunk.byteLength; ) at += (await this.#handle.write(chunk, at)).bytesWritten;
    } catch (error) {
      throw nameFullDisk(error);
    }
  }

  /**
   * Verifies, brings it to the disk and makes it visible.
   * @param expectedDigest undefined for content made here, whose digest nobody could know before
   */
  async commit(expectedDigest: string | undefined): Promise<BlobInfo> {
    const info = { digest: this.#hasher.digest(), sizeBytes: this.#hasher.sizeBytes };
    if (expectedDigest !== undefined) requireDigest(info.digest, expectedDigest);
    try {
      await this.#handle.sync();
    } catch (error) {
      throw nameFullDisk(error);
    }
    this.#ended = true;
    await this.#handle.close();
    await this.#publish(info.digest);
    return info;
  }

  /** Removes it; does nothing after a `commit` that succeeded. */
  async abort(): Promise<void> {
    if (!this.#ended) {
      this.#ended = true;
      await this.#handle.close();
    }
    await rm(this.#temporary, { force: true });
  }
}

/** Iterates over a stream without destroying it when the reader has enough: that is for its owner to do. */
export function chunksOf(stream: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  return stream instanceof Readable ? stream.iterator({ destroyOnReturn: false }) : stream;
}

function nameFullDisk(error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  return new RuntimeError('storage_full', 'no space left in the image store', { cause: error });
}
