/**
 * Images of one machine, in a directory that is an OCI image layout with the applied layers beside it:
 *
 * ```
 * oci-layout  index.json             which images and tags there are          image-index.ts
 * blobs/sha256/<hex>                 manifests, configurations, archives      blob-store.ts
 * layers/<hex>/{root/,layer.json}    archives, applied                        layer-store.ts
 * partial/                           what is being made; emptied at each start
 * ```
 * Order makes it safe to be killed at any point: layers, then configuration and manifest, then the index; removal the
 * other way round. What the index does not lead to is invisible, and `removeUnreferenced` takes it away.
 * One writer: the daemon. It must not remove an image that a container runs on.
 */
import { RuntimeError } from '../errors.ts';
import {
  architectureOf,
  composeImageConfig,
  decodeImageConfig,
  encodeImageConfig,
  type ImageConfig,
  type ImageExecution,
} from '../spec/image-config.ts';
import { annotations, decodeManifest, encodeManifest, type Manifest } from '../spec/manifest.ts';
import { formatReference, parseReference, withDefaultTag } from '../spec/reference.ts';
import { BlobStore } from './blob-store.ts';
import { type ImageIndexState, type IndexedImage, readImageIndex, writeImageIndex } from './image-index.ts';
import { type LayerHooks, LayerStore, type LayerStored } from './layer-store.ts';
import type { LayerLimits } from './layers.ts';

/** An image with all that a container needs of it. */
export interface ResolvedImage {
  readonly digest: string;
  readonly config: ImageConfig;
  readonly labels: Readonly<Record<string, string>>;
  /** Lowest first. */
  readonly layers: readonly string[];
  /** Of the layers, lowest first: overlayfs wants them the other way round. */
  readonly layerDirectories: readonly string[];
  /** Manifest digest of the image it builds on. */
  readonly base: string | undefined;
}

export interface ImageSummary {
  digest: string;
  /** Lowest first, those of the base too. */
  layers: string[];
  labels: Record<string, string>;
  tags: string[];
  createdAtMs: number;
}

export interface CreateImageRequest {
  /** Manifest digest of the image below. */
  base?: string;
  /** Above the base's, lowest first; each stored before. */
  layers: readonly string[];
  labels?: Readonly<Record<string, string>>;
  /** Replaces members of the base's execution parameters. */
  config?: ImageExecution;
}

export interface Unreferenced {
  layers: string[];
  /** Blobs that are no layers: manifests and configurations. */
  blobs: string[];
}

export class ImageStore {
  readonly #directory: string;
  readonly #blobs: BlobStore;
  readonly #layers: LayerStore;
  readonly #images: Map<string, IndexedImage>;
  readonly #tags: Map<string, string>;
  /** Of the images, but for those that the disk has lost. */
  readonly #manifests: Map<string, Manifest>;
  readonly #resolved = new Map<string, ResolvedImage>();
  /** When someone last relied on a layer that is there, so that it is not taken away before they use it. */
  readonly #seenAtMs = new Map<string, number>();
  /** Changes of the index, one after the other. */
  #changes: Promise<unknown> = Promise.resolve();

  private constructor(
    directory: string,
    blobs: BlobStore,
    layers: LayerStore,
    index: ImageIndexState,
    manifests: Map<string, Manifest>,
  ) {
    this.#directory = directory;
    this.#blobs = blobs;
    this.#layers = layers;
    this.#images = new Map(index.images);
    this.#tags = new Map(index.tags);
    this.#manifests = manifests;
  }

  /**
   * Opens the store, makes it if it is not there, and cleans up after a process or machine that ended in the middle.
   * @param options.bootId for tests: stands for a reboot
   */
  static async open(directory: string, hooks: LayerHooks, options: { bootId?: string } = {}): Promise<ImageStore> {
    const blobs = await BlobStore.open(directory);
    const index = await readImageIndex(directory);
    const manifests = await readManifests(blobs, index.images.keys());
    const required = [...manifests.values()].flatMap((manifest) => manifest.layers.map((layer) => layer.digest));
    const layers = await LayerStore.open(directory, blobs, hooks, required, options.bootId);
    return new ImageStore(directory, blobs, layers, index, manifests);
  }

  /** Whether the layer is there, applied. Asking keeps it from `removeUnreferenced` for that call's `olderThanMs`. */
  hasLayer(digest: string): boolean {
    const there = this.#layers.has(digest);
    if (there) this.#seenAtMs.set(digest, Date.now());
    return there;
  }

  /** @returns the archive's bytes, undefined when the layer is not there */
  layerSize(digest: string): number | undefined {
    return this.hasLayer(digest) ? this.#layers.sizeBytes(digest) : undefined;
  }

  /** See `LayerStore.put`. */
  putLayer(digest: string, stream: AsyncIterable<Uint8Array>, limits: LayerLimits): Promise<LayerStored> {
    return this.#layers.put(digest, stream, limits);
  }

  /** See `LayerStore.add`: for an archive made on this machine. */
  addLayer(stream: AsyncIterable<Uint8Array>, limits: LayerLimits): Promise<LayerStored> {
    return this.#layers.add(stream, limits);
  }

  /**
   * Writes configuration and manifest over stored layers. The same request gives the same digest.
   * @throws RuntimeError `layer_missing`, `image_not_found` for the base
   */
  createImage(request: CreateImageRequest): Promise<{ digest: string; created: boolean }> {
    return this.#change(async () => {
      const base = request.base === undefined ? undefined : await this.resolve(request.base);
      const config = composeImageConfig({
        base: base?.config,
        diffIds: request.layers,
        architecture: architectureOf(process.arch),
        ...(request.labels ? { labels: request.labels } : {}),
        ...(request.config ? { execution: request.config } : {}),
      });
      const layers = [...(base?.layers ?? []), ...request.layers];
      const sized = layers.map((digest) => ({ digest, sizeBytes: this.#layers.sizeBytes(digest) }));
      const storedConfig = await this.#blobs.putBytes(encodeImageConfig(config));
      const manifest = encodeManifest({
        config: storedConfig,
        layers: sized,
        ...(base ? { annotations: { [annotations.baseDigest]: base.digest } } : {}),
      });
      const { digest, sizeBytes } = await this.#blobs.putBytes(manifest);
      if (this.#images.has(digest)) return { digest, created: false };
      await this.#save((images) => images.set(digest, { digest, sizeBytes, createdAtMs: Date.now() }));
      this.#manifests.set(digest, decodeManifest(manifest));
      return { digest, created: true };
    });
  }

  /**
   * The image, from memory after the first time.
   * @throws RuntimeError `image_not_found`; `layer_missing`, `blob_missing` or `invalid_manifest` when the disk lost some of it
   */
  async resolve(digest: string): Promise<ResolvedImage> {
    const known = this.#resolved.get(digest);
    if (known) return known;
    this.#indexed(digest);
    const manifest = this.#manifests.get(digest) ?? decodeManifest(await this.#blobs.read(digest));
    const config = decodeImageConfig(await this.#blobs.read(manifest.config.digest));
    const layers = manifest.layers.map((layer) => layer.digest);
    const resolved: ResolvedImage = Object.freeze({
      digest,
      config,
      labels: config.config?.Labels ?? {},
      layers,
      layerDirectories: layers.map((layer) => this.#layers.directory(layer)),
      base: manifest.annotations?.[annotations.baseDigest],
    });
    // It may have been removed while it was read.
    this.#indexed(digest);
    this.#resolved.set(digest, resolved);
    return resolved;
  }

  /** As `resolve`, without waiting: undefined for an image that was not resolved before. */
  resolved(digest: string): ResolvedImage | undefined {
    return this.#resolved.get(digest);
  }

  /** Oldest first. An image of which the disk has lost something shows no layers; `resolve` says what is wrong with it. */
  async list(): Promise<ImageSummary[]> {
    const images = [...this.#images.values()].sort((a, b) => a.createdAtMs - b.createdAtMs);
    return await Promise.all(
      images.map(async ({ digest, createdAtMs }) => {
        const { layers, labels } = await this.resolve(digest).catch((error: unknown) => {
          if (error instanceof RuntimeError) return { layers: [], labels: {} };
          throw error;
        });
        const tags = [...this.#tags].filter(([, target]) => target === digest).map(([reference]) => reference);
        return { digest, layers: [...layers], labels: { ...labels }, tags, createdAtMs };
      }),
    );
  }

  /**
   * Removes an image with its tags, and the configuration and layers that no other image refers to.
   * @throws RuntimeError `image_not_found`; `image_in_use` when other images build on it
   */
  removeImage(digest: string): Promise<void> {
    return this.#change(async () => {
      this.#indexed(digest);
      this.#requireNoDependents(digest);
      const manifest = this.#manifests.get(digest);
      await this.#save((images, tags) => {
        images.delete(digest);
        for (const [reference, target] of tags) if (target === digest) tags.delete(reference);
      });
      this.#manifests.delete(digest);
      this.#resolved.delete(digest);
      const referenced = this.#referenced();
      const rubbish = (digests: readonly string[]) => digests.filter((each) => !referenced.has(each));
      const layers = manifest?.layers.map((layer) => layer.digest) ?? [];
      await this.#removeAll(rubbish(layers), rubbish(manifest ? [digest, manifest.config.digest] : [digest]));
    });
  }

  /**
   * Gives an image a name; moves the name if another image has it.
   * @param reference `latest` is its tag when it has none
   * @throws RuntimeError `invalid_reference`, `image_not_found`
   */
  tag(reference: string, digest: string): Promise<void> {
    return this.#change(async () => {
      const key = tagKey(reference);
      this.#indexed(digest);
      if (this.#tags.get(key) !== digest) await this.#save((_images, tags) => tags.set(key, digest));
    });
  }

  /** Digest of the image that has the name, or undefined. @throws RuntimeError `invalid_reference` */
  lookup(reference: string): string | undefined {
    const parsed = parseReference(reference);
    if (parsed.digest !== undefined) return this.#images.has(parsed.digest) ? parsed.digest : undefined;
    return this.#tags.get(tagKey(reference));
  }

  /** Layers that no image refers to. */
  unreferencedLayers(): string[] {
    const referenced = this.#referenced();
    return this.#layers.list().filter((digest) => !referenced.has(digest));
  }

  /**
   * Removes layers and blobs that no image refers to, unless they were stored or asked for in the last `olderThanMs`:
   * a deploy puts its layers before its image.
   */
  removeUnreferenced(olderThanMs: number): Promise<Unreferenced> {
    return this.#change(async () => {
      const referenced = this.#referenced();
      const since = Date.now() - olderThanMs;
      const isOld = (digest: string, atMs: number) => Math.max(atMs, this.#seenAtMs.get(digest) ?? 0) <= since;
      const layers = this.#layers
        .list()
        .filter((digest) => !referenced.has(digest) && isOld(digest, this.#layers.appliedAtMs(digest)));
      const blobs: string[] = [];
      for (const digest of await this.#blobs.list()) {
        const storedAtMs = (await this.#blobs.storedAtMs(digest)) ?? 0;
        // The archive of a layer that is being put is there a moment before the layer is.
        const isLayer = this.#layers.has(digest) || this.#layers.isStoring;
        if (!referenced.has(digest) && !isLayer && isOld(digest, storedAtMs)) blobs.push(digest);
      }
      await this.#removeAll(layers, blobs);
      return { layers, blobs };
    });
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    await this.#changes;
    await this.#layers.close();
  }

  async #removeAll(layers: readonly string[], blobs: readonly string[]): Promise<void> {
    for (const layer of layers) {
      // The archive first: without it a tree is never made again.
      await this.#blobs.remove(layer);
      await this.#layers.remove(layer);
      this.#seenAtMs.delete(layer);
    }
    for (const blob of blobs) await this.#blobs.remove(blob);
  }

  #requireNoDependents(digest: string): void {
    const isAbove = ([, manifest]: [string, Manifest]) => manifest.annotations?.[annotations.baseDigest] === digest;
    const [first, ...more] = [...this.#manifests].filter(isAbove);
    if (!first) return;
    const others = more.length > 0 ? ` and ${more.length} more` : '';
    throw new RuntimeError(
      'image_in_use',
      `image ${digest}: image ${first[0]}${others} builds on it; remove that first`,
    );
  }

  /** Every digest that the index leads to. */
  #referenced(): Set<string> {
    const referenced = new Set<string>(this.#images.keys());
    for (const manifest of this.#manifests.values()) {
      referenced.add(manifest.config.digest);
      for (const layer of manifest.layers) referenced.add(layer.digest);
    }
    return referenced;
  }

  #indexed(digest: string): IndexedImage {
    const image = this.#images.get(digest);
    if (image) return image;
    throw new RuntimeError('image_not_found', `image ${digest} is not in the store`, { details: { digest } });
  }

  /** Changes the index on the disk, then in memory. */
  async #save(change: (images: Map<string, IndexedImage>, tags: Map<string, string>) => void): Promise<void> {
    const images = new Map(this.#images);
    const tags = new Map(this.#tags);
    change(images, tags);
    await writeImageIndex(this.#directory, { images, tags });
    replaceContent(this.#images, images);
    replaceContent(this.#tags, tags);
  }

  #change<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#changes.then(work);
    this.#changes = result.catch(() => undefined);
    return result;
  }
}

function tagKey(reference: string): string {
  const { digest, ...tagged } = parseReference(reference);
  if (digest !== undefined)
    throw new RuntimeError('invalid_reference', `image reference "${reference}": a tag has no digest`);
  return formatReference(withDefaultTag(tagged));
}

function replaceContent<K, V>(target: Map<K, V>, source: ReadonlyMap<K, V>): void {
  target.clear();
  for (const [key, value] of source) target.set(key, value);
}

/** Those that are whole: the others must not keep the store from opening. */
async function readManifests(blobs: BlobStore, digests: Iterable<string>): Promise<Map<string, Manifest>> {
  const manifests = new Map<string, Manifest>();
  for (const digest of digests) {
    try {
      manifests.set(digest, decodeManifest(await blobs.read(digest)));
    } catch (error) {
      if (!(error instanceof RuntimeError)) throw error;
    }
  }
  return manifests;
}
