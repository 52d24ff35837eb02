/**
 * Keeps one zygote of a runtime alive: starts another when it ends, and gives it the starts that the old one did not
 * get to. A caller of `start` notices a dead zygote only by the time it takes.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { RuntimeError } from '../errors.ts';
import type { LaunchSpec, ZygoteConfig } from './protocol.ts';
import { type Launched, NotForkedError, Zygote } from './zygote.ts';

/** A start that meets this many dead zygotes in a row is what kills them. */
const maxAttempts = 3;
const backoffMs = { first: 50, longest: 5000, healthyAfter: 10_000 };

export interface KeeperOptions {
  readonly directory: string;
  readonly config: Omit<ZygoteConfig, 'stage'>;
  /** Told when a zygote ended that was not asked to. */
  readonly onLost?: (reason: string) => void;
}

export class ZygoteKeeper {
  readonly #options: KeeperOptions;
  readonly #networks = new Set<string>();
  #zygote: Zygote;
  #closed = false;
  #failures = 0;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#zygote = this.#launch();
  }

  get state(): 'starting' | 'ready' {
    return this.#readyZygote === this.#zygote && this.#zygote.alive ? 'ready' : 'starting';
  }
  #readyZygote: Zygote | undefined;

  get pid(): number | undefined {
    return this.#zygote.pid;
  }

  /** Resolves when a zygote takes commands. @throws RuntimeError `zygote_failed` when three in a row could not start */
  async ready(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const zygote = this.#zygote;
      try {
        return await zygote.ready;
      } catch (error) {
        if (attempt === maxAttempts || this.#closed) throw error;
        await this.#successor(zygote);
      }
    }
  }

  /** @see Zygote.start; starts again on a new zygote what the old one had not forked */
  async start(spec: LaunchSpec, onForked: (pid: number) => void): Promise<Launched> {
    for (let attempt = 1; ; attempt++) {
      const zygote = this.#zygote;
      try {
        return await zygote.start(spec, onForked);
      } catch (error) {
        if (!(error instanceof NotForkedError) || this.#closed) throw error;
        if (attempt === maxAttempts)
          throw new RuntimeError('zygote_failed', `${maxAttempts} zygotes ended before they forked`);
        await this.#successor(zygote);
      }
    }
  }

  prepareNetwork(key: string): void {
    this.#networks.add(key);
    this.#zygote.prepareNetwork(key);
  }

  dropNetwork(key: string): void {
    this.#networks.delete(key);
    this.#zygote.dropNetwork(key);
  }

  childExited(id: string, reason: string): void {
    this.#zygote.childExited(id, reason);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#zygote.close();
  }

  #launch(): Zygote {
    const zygote = new Zygote(this.#options.directory, this.#options.config);
    const startedAt = Date.now();
    for (const key of this.#networks) zygote.prepareNetwork(key);
    zygote.ready.then(
      () => {
        this.#readyZygote = zygote;
      },
      () => undefined, // told below, with every other end
    );
    void zygote.exited.then(async (reason) => {
      if (this.#closed) return;
      this.#options.onLost?.(reason);
      this.#failures = Date.now() - startedAt > backoffMs.healthyAfter ? 0 : this.#failures + 1;
      // The first successor comes at once: calls may be waiting.
      if (this.#failures > 1) await delay(Math.min(backoffMs.first * 2 ** this.#failures, backoffMs.longest));
      if (!this.#closed) this.#replace(this.#launch());
    });
    return zygote;
  }

  #onReplaced: (() => void)[] = [];

  #replace(zygote: Zygote): void {
    this.#zygote = zygote;
    for (const wake of this.#onReplaced.splice(0)) wake();
  }

  async #successor(of: Zygote): Promise<void> {
    while (this.#zygote === of && !this.#closed) await new Promise<void>((wake) => this.#onReplaced.push(wake));
  }
}
