/**
 * Images of deploys: made together with the version record that refers to them, removed when none does. One at a time, so
 * that no image is removed between being found in the store and being referred to.
 */
import type { ImageRequest } from '../contracts/daemon-api.ts';
import { toErrorBody } from '../contracts/errors.ts';
import type { Log } from '../platform/log.ts';
import type { DaemonClient } from './daemon-client.ts';
import type { FunctionStore } from './function-store.ts';

/** Tells images of deploys from others in the node's store. */
const functionLabel = 'stoke.function';

export interface ImageKeeperOptions {
  readonly store: FunctionStore;
  readonly daemon: DaemonClient;
  readonly log: Log;
}

export class ImageKeeper {
  readonly #store: FunctionStore;
  readonly #daemon: DaemonClient;
  readonly #log: Log;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: ImageKeeperOptions) {
    this.#store = options.store;
    this.#daemon = options.daemon;
    this.#log = options.log;
  }

  /** Makes the function's image, and before any image can be removed, `refer` writes what refers to it. */
  create<T>(
    functionName: string,
    image: Omit<ImageRequest, 'labels'>,
    refer: (digest: string) => Promise<T>,
  ): Promise<T> {
    return this.#exclusively(async () => {
      const digest = await this.#daemon.createImage({ ...image, labels: { [functionLabel]: functionName } });
      return refer(digest);
    });
  }

  /** Removes those of `images` that no version refers to. A failure is logged: the sweep of the next start repeats it. */
  removeUnused(images: Iterable<string>): Promise<void> {
    const candidates = new Set(images);
    return this.#exclusively(async () => {
      if (candidates.size === 0) return;
      try {
        const used = await this.#store.images();
        for (const image of candidates) if (!used.has(image)) await this.#daemon.removeImage(image);
      } catch (error) {
        this.#log.warn({ err: error, reason: toErrorBody(error).message }, 'removing images failed');
      }
    });
  }

  /** Removes images of deploys that no version refers to and that were made before `beforeMs` (epoch). @returns how many */
  sweep(beforeMs: number): Promise<number> {
    return this.#exclusively(async () => {
      const used = await this.#store.images();
      let removed = 0;
      for (const image of await this.#daemon.images()) {
        if (!(functionLabel in image.labels) || image.createdAtMs >= beforeMs || used.has(image.digest)) continue;
        await this.#daemon.removeImage(image.digest);
        removed++;
      }
      return removed;
    });
  }

  #exclusively<T>(step: () => Promise<T>): Promise<T> {
    const run = this.#last.then(step, step);
    this.#last = run.catch(() => undefined);
    return run;
  }
}
