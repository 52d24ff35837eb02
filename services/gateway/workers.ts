/** The workers that are connected now, by node; the newest connection of a node wins. One writer: the reply channel. */
import type { WorkerLink } from './worker-link.ts';

/** No frame for so long means dead. */
export const silentAfterMs = 3000;
export const pingEveryMs = 1000;

export interface WorkersListener {
  onUp(): void;
}

export class Workers {
  readonly #byNode = new Map<string, WorkerLink>();
  #list: readonly WorkerLink[] = [];
  #lastTickMs = performance.now();
  #listener: WorkersListener | undefined;

  /** Who is told when a worker has come. */
  listen(listener: WorkersListener): void {
    this.#listener = listener;
  }

  list(): readonly WorkerLink[] {
    return this.#list;
  }

  add(link: WorkerLink): void {
    const older = this.#byNode.get(link.hello.node);
    this.#byNode.set(link.hello.node, link);
    this.#list = [...this.#byNode.values()];
    older?.close(new Error(`a newer worker of node "${link.hello.node}" has connected`));
    this.#listener?.onUp();
  }

  remove(link: WorkerLink): void {
    if (this.#byNode.get(link.hello.node) !== link) return;
    this.#byNode.delete(link.hello.node);
    this.#list = [...this.#byNode.values()];
  }

  /** Called every `pingEveryMs`. */
  tick(nowMs: number): void {
    // If this process itself stood still, what the workers sent meanwhile has not been read yet.
    const wasAsleep = nowMs - this.#lastTickMs > 2 * pingEveryMs;
    this.#lastTickMs = nowMs;
    for (const link of this.#list) {
      if (wasAsleep) link.lastHeardMs = nowMs;
      if (nowMs - link.lastHeardMs > silentAfterMs) link.close(new Error(`no frame for ${silentAfterMs} ms`));
      else link.ping();
    }
  }
}
