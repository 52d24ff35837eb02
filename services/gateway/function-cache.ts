/**
 * What the invoke path has to know of each function, read once and kept until it changes. The store publishes each change;
 * when the subscription was interrupted everything is read again. Without Redis, what is known goes on working.
 */
import type { Redis } from 'ioredis';
import { LRUCache } from 'lru-cache';
import { functionKeys, functionNameSchema } from '../contracts/function.ts';
import { admissionLimit } from './admission.ts';
import type { FunctionStore, StoredFunction } from './function-store.ts';

export interface KnownFunction {
  readonly name: string;
  readonly version: number;
  /** For the answer's header. */
  readonly versionText: string;
  readonly timeoutMs: number;
  readonly exposeErrors: boolean;
  /** Calls at a time, running and waiting. */
  readonly admissionLimit: number;
}

/** Two sizes: a flood of made-up names must not push real functions out. */
const knownEntries = 20_000;
const missingEntries = 1000;
const missingForMs = 1000;

export class FunctionCache {
  readonly #store: FunctionStore;
  readonly #known = new LRUCache<string, KnownFunction>({ max: knownEntries });
  readonly #missing = new LRUCache<string, true>({ max: missingEntries, ttl: missingForMs });
  readonly #loading = new Map<string, Promise<KnownFunction | undefined>>();

  constructor(store: FunctionStore) {
    this.#store = store;
  }

  /** What is known without waiting. */
  peek(name: string): KnownFunction | undefined {
    return this.#known.get(name);
  }

  /**
   * @returns undefined when there is no such function
   * @throws StokeError `unavailable`
   */
  async resolve(name: string): Promise<KnownFunction | undefined> {
    if (this.#missing.has(name) || !functionNameSchema.safeParse(name).success) return undefined;
    return this.#loading.get(name) ?? this.#load(name);
  }

  invalidate(name: string): void {
    this.#known.delete(name);
    this.#missing.delete(name);
    // What is being read may be from before the change: whoever waits gets it, but it is not kept.
    this.#loading.delete(name);
  }

  flush(): void {
    this.#known.clear();
    this.#missing.clear();
    this.#loading.clear();
  }

  /** Follows changes on a connection of its own, which it makes a subscriber. */
  follow(subscriber: Redis): void {
    subscriber.on('message', (_channel: string, name: string) => this.invalidate(name));
    const subscribe = () =>
      subscriber.subscribe(functionKeys.changes).then(
        () => this.flush(),
        // The connection broke again; its next 'ready' subscribes.
        () => undefined,
      );
    subscriber.on('ready', subscribe);
    if (subscriber.status === 'ready') subscribe();
  }

  #load(name: string): Promise<KnownFunction | undefined> {
    const read = this.#store.get(name);
    const load: Promise<KnownFunction | undefined> = read.then(
      (stored) => {
        const known = stored && toKnown(stored);
        if (!this.#finished(name, load)) return known;
        if (known) this.#known.set(name, known);
        else this.#missing.set(name, true);
        return known;
      },
      (error: unknown) => {
        this.#finished(name, load);
        throw error;
      },
    );
    this.#loading.set(name, load);
    return load;
  }

  /** @returns whether nothing changed since the load began */
  #finished(name: string, load: Promise<KnownFunction | undefined>): boolean {
    return this.#loading.get(name) === load && this.#loading.delete(name);
  }
}

function toKnown({ version }: StoredFunction): KnownFunction {
  const { config } = version;
  return {
    name: version.function,
    version: version.version,
    versionText: String(version.version),
    timeoutMs: Math.round(config.timeout * 1000),
    exposeErrors: config.exposeErrors,
    admissionLimit: admissionLimit(config),
  };
}
