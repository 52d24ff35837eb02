/** What the gateway asks of the node's daemon: images and networks of functions. */
import type { Readable } from 'node:stream';
import { z } from 'zod';
import {
  type ImageRequest,
  type ImageSummary,
  imageCreatedSchema,
  imageSummarySchema,
  type LayerStored,
  layerStoredSchema,
} from '../contracts/daemon-api.ts';
import { StokeError } from '../contracts/errors.ts';
import type { UnixHttpClient } from '../platform/unix-http.ts';

export class DaemonClient {
  readonly #http: UnixHttpClient;

  constructor(http: UnixHttpClient) {
    this.#http = http;
  }

  /** @returns whether the layer is stored, and its size when the daemon tells it */
  async findLayer(digest: string): Promise<{ sizeBytes: number | undefined } | undefined> {
    try {
      const response = await this.#http.stream({ method: 'HEAD', path: `/v1/layers/${digest}` });
      response.resume();
      const length = response.headers['content-length'];
      return { sizeBytes: length === undefined ? undefined : Number(length) };
    } catch (error) {
      if (error instanceof StokeError && error.status === 404) return undefined;
      throw error;
    }
  }

  /** Streams `body` through; the daemon checks that it has the digest. */
  async putLayer(digest: string, sizeBytes: number, body: Readable): Promise<LayerStored> {
    const headers = { 'content-type': 'application/x-tar', 'content-length': String(sizeBytes) };
    return layerStoredSchema.parse(
      await this.#http.json({ method: 'PUT', path: `/v1/layers/${digest}`, body, headers }),
    );
  }

  /** @returns the image's digest */
  async createImage(request: ImageRequest): Promise<string> {
    return imageCreatedSchema.parse(await this.#http.json({ method: 'POST', path: '/v1/images', json: request }))
      .digest;
  }

  async images(): Promise<ImageSummary[]> {
    return z.array(imageSummarySchema).parse(await this.#http.json({ method: 'GET', path: '/v1/images' }));
  }

  /** An image that is gone already is no error. */
  async removeImage(digest: string): Promise<void> {
    await this.#remove(`/v1/images/${digest}`);
  }

  async prepareNetwork(key: string): Promise<void> {
    await this.#http.json({ method: 'PUT', path: `/v1/networks/${key}` });
  }

  async removeNetwork(key: string): Promise<void> {
    await this.#remove(`/v1/networks/${key}`);
  }

  async #remove(path: string): Promise<void> {
    try {
      await this.#http.json({ method: 'DELETE', path });
    } catch (error) {
      if (!(error instanceof StokeError && error.status === 404)) throw error;
    }
  }
}
