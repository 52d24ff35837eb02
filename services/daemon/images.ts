/** What the API does with images: layers in, images made of them, images out. */
import type { Readable } from 'node:stream';
import type { Containers, ImageStore } from '../../runtime/index.ts';
import type { ImageCreated, ImageRequest, ImageSummary, LayerStored } from '../contracts/daemon-api.ts';
import { StokeError } from '../contracts/errors.ts';
import { maxDeployBytes } from '../contracts/management-api.ts';
import type { RuntimeName, Runtimes } from './runtimes.ts';

/** Of one layer. node_modules folders of tens of thousands of files are common; hundreds of thousands are not. */
const layerLimits = { bytes: maxDeployBytes, entries: 200_000 };

export class Images {
  readonly #store: ImageStore;
  readonly #runtimes: () => Runtimes;
  readonly #containers: Containers;

  constructor(store: ImageStore, runtimes: () => Runtimes, containers: Containers) {
    this.#store = store;
    this.#runtimes = runtimes;
    this.#containers = containers;
  }

  /** @returns the archive's bytes, undefined when it is not stored */
  layerSize(digest: string): number | undefined {
    return this.#store.layerSize(digest);
  }

  putLayer(digest: string, body: Readable): Promise<LayerStored> {
    return this.#store.putLayer(digest, body, layerLimits);
  }

  async create(request: ImageRequest): Promise<ImageCreated> {
    const { layers, labels } = request;
    const created = await this.#store.createImage({ base: this.#base(request.runtime), layers, labels });
    // Its first container shall find it resolved.
    await this.#store.resolve(created.digest);
    return created;
  }

  /** Those made by deploys; base images are the daemon's own. */
  async list(): Promise<ImageSummary[]> {
    const bases = new Set([...this.#runtimes().values()].map(({ base }) => base));
    const images = await this.#store.list();
    return images
      .filter(({ digest }) => !bases.has(digest))
      .map(({ digest, layers, labels, createdAtMs }) => ({ digest, layers, labels, createdAtMs }));
  }

  async remove(digest: string): Promise<void> {
    if (this.#containers.usesImage(digest))
      throw new StokeError('image_in_use', `image ${digest} is in use by a container; remove that first`);
    await this.#store.removeImage(digest);
  }

  #base(runtime: RuntimeName): string {
    const found = this.#runtimes().get(runtime);
    if (!found) throw new StokeError('unavailable', `runtime "${runtime}" is still starting`);
    return found.base;
  }
}
