/**
 * Versions as the gateway wrote them to the durable Redis. Read only; records are immutable, so they are parsed once and
 * cached until their function changes (a removed one may come back with the same numbers and other content).
 */
import { Redis } from 'ioredis';
import { LRUCache } from 'lru-cache';
import { StokeError } from '../contracts/errors.ts';
import {
  describeIssues,
  functionKeys,
  functionRecordSchema,
  type VersionRecord,
  versionKey,
  versionRecordSchema,
} from '../contracts/function.ts';
import type { Log } from '../platform/log.ts';

const maxCached = 4096;
/** A Redis that is restarted is back before that. */
const readBoundMs = 3000;

export class VersionSource {
  readonly #address: string;
  readonly #log: Log;
  readonly #cache = new LRUCache<string, VersionRecord>({ max: maxCached });
  readonly #loading = new Map<string, Promise<VersionRecord>>();
  #reader: Redis | undefined;
  #subscriber: Redis | undefined;

  constructor(address: string, log: Log) {
    this.#address = address;
    this.#log = log;
  }

  start(): void {
    this.#reader = this.#connect({ commandTimeout: readBoundMs });
    this.#subscriber = this.#connect({});
    this.#subscriber.on('message', (_channel, name: string) => this.#changed(name));
    // What was published while it was away is not known.
    this.#subscriber.on('ready', () => this.#cache.clear());
    this.#subscriber.subscribe(functionKeys.changes).catch((error: unknown) => {
      this.#log.debug({ err: error }, 'subscribing again with the next connection');
    });
  }

  /** The record if it is at hand. */
  cached(name: string, version: number): VersionRecord | undefined {
    return this.#cache.get(versionKey(name, version));
  }

  /** @throws StokeError `function_not_found`, `unavailable` */
  load(name: string, version: number): Promise<VersionRecord> {
    const key = versionKey(name, version);
    const record = this.#cache.get(key);
    if (record) return Promise.resolve(record);
    let loading = this.#loading.get(key);
    if (!loading) {
      loading = this.#read(name, version).finally(() => this.#loading.delete(key));
      this.#loading.set(key, loading);
    }
    return loading;
  }

  /** Forgets what is cached of a function. */
  forget(name: string): void {
    for (const key of [...this.#cache.keys()]) if (key.startsWith(`${name}@`)) this.#cache.delete(key);
  }

  close(): void {
    this.#reader?.disconnect();
    this.#subscriber?.disconnect();
  }

  async #read(name: string, version: number): Promise<VersionRecord> {
    const text = await this.#get(functionKeys.version(name, version));
    if (text === null)
      throw new StokeError('function_not_found', `version ${version} of function "${name}" does not exist`);
    const parsed = versionRecordSchema.safeParse(JSON.parse(text));
    if (!parsed.success)
      throw new StokeError('internal', `record of ${versionKey(name, version)}: ${describeIssues(parsed.error)}`);
    this.#cache.set(versionKey(name, version), parsed.data);
    return parsed.data;
  }

  async #get(key: string): Promise<string | null> {
    if (!this.#reader) throw new StokeError('unavailable', 'the version source is not started');
    try {
      return await this.#reader.get(key);
    } catch (cause) {
      throw new StokeError('unavailable', 'the durable redis does not answer', { cause });
    }
  }

  /** The next call most likely asks for the current version. */
  #changed(name: string): void {
    this.forget(name);
    this.#prefetch(name).catch((error: unknown) => this.#log.debug({ err: error, name }, 'prefetch failed'));
  }

  async #prefetch(name: string): Promise<void> {
    const text = await this.#get(functionKeys.function(name));
    if (text === null) return;
    const { current } = functionRecordSchema.parse(JSON.parse(text));
    await this.load(name, current);
  }

  #connect(options: { commandTimeout?: number }): Redis {
    const redis = new Redis(this.#address, {
      connectionName: 'stoke-worker-durable',
      maxRetriesPerRequest: null,
      retryStrategy: (times) => Math.min(20 * times, 250),
      ...options,
    });
    let told = false;
    redis.on('error', (error) => {
      if (!told) this.#log.warn({ err: error }, 'durable redis is away');
      told = true;
    });
    redis.on('ready', () => {
      told = false;
    });
    return redis;
  }
}
