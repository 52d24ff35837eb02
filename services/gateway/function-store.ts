/**
 * Function and version records in the durable Redis. The only writer of `functionKeys` and of the version counters; workers
 * read. A version record is written first and is nobody's until the function record lists it, so a crash in between
 * leaves nothing visible; `sweep` removes what was left.
 */
import type { Redis } from 'ioredis';
import { StokeError } from '../contracts/errors.ts';
import {
  type FunctionRecord,
  functionKeys,
  functionRecordSchema,
  type VersionRecord,
  versionRecordSchema,
} from '../contracts/function.ts';

/** Versions that stay deployable; older ones are dropped with their images. */
export const keptVersions = 10;

/**
 * Numbers are never used twice, not even after a failed deploy or a removal: workers keep what they know of `name@version`.
 */
const versionCounter = (name: string) => `stoke:version-counter:${name}`;

/** `functionKeys.version` of all functions. */
const everyVersionKey = 'stoke:version:*';

/** KEYS record, index · ARGV expected record or '', new record or '' (remove), name, channel. Answers 1 when it was as expected. */
const replaceRecord = `
  if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
  if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
    redis.call('SREM', KEYS[2], ARGV[3])
  else
    redis.call('SET', KEYS[1], ARGV[2])
    redis.call('SADD', KEYS[2], ARGV[3])
  end
  redis.call('PUBLISH', ARGV[4], ARGV[3])
  return 1`;

export interface StoredFunction {
  record: FunctionRecord;
  version: VersionRecord;
}

/** A function record with one more version. Pure. @returns the record, and the versions that it no longer lists */
export function withVersion(
  record: FunctionRecord | undefined,
  version: VersionRecord,
): { record: FunctionRecord; dropped: FunctionRecord['versions'] } {
  const { version: number, digest, image, createdAtMs } = version;
  // Two deploys may finish in the other order than they began: the higher number is the newer version.
  const versions = [...(record?.versions ?? []), { version: number, digest, image, createdAtMs }];
  versions.sort((a, b) => a.version - b.version);
  const kept = versions.slice(-keptVersions);
  const current = Math.max(record?.current ?? 0, number);
  return { record: { name: version.function, current, versions: kept }, dropped: versions.slice(0, -keptVersions) };
}

export class FunctionStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** @throws StokeError `unavailable` when Redis is away; so do all methods */
  async get(name: string): Promise<StoredFunction | undefined> {
    return this.#reach(async () => {
      const record = await this.#record(name);
      const version = record && (await this.#version(name, record.current));
      return record && version ? { record, version } : undefined;
    });
  }

  /** All functions, by name. */
  async list(): Promise<StoredFunction[]> {
    return this.#reach(async () => {
      const names = (await this.#redis.smembers(functionKeys.index)).sort();
      const found = await Promise.all(names.map((name) => this.get(name)));
      return found.filter((stored) => stored !== undefined);
    });
  }

  /** Writes a version record under the function's next number. Nobody sees it before `publish`. */
  async createVersion(version: Omit<VersionRecord, 'version'>): Promise<VersionRecord> {
    return this.#reach(async () => {
      const number = await this.#redis.incr(versionCounter(version.function));
      const numbered: VersionRecord = { ...version, version: number };
      await this.#redis.set(functionKeys.version(version.function, number), JSON.stringify(numbered));
      return numbered;
    });
  }

  /** Takes back a version that was not published. */
  async discardVersion(version: VersionRecord): Promise<void> {
    await this.#reach(() => this.#redis.del(functionKeys.version(version.function, version.version)));
  }

  /** Makes calls go to `version`, unless a newer one is there. @returns the versions that are no longer kept */
  async publish(version: VersionRecord): Promise<FunctionRecord['versions']> {
    return this.#reach(async () => {
      for (;;) {
        const { text, record } = await this.#read(version.function);
        const next = withVersion(record, version);
        if (!(await this.#replace(version.function, text, JSON.stringify(next.record)))) continue;
        await this.#dropVersions(version.function, next.dropped);
        return next.dropped;
      }
    });
  }

  /** @returns the record that was removed, or undefined when there was none */
  async remove(name: string): Promise<FunctionRecord | undefined> {
    return this.#reach(async () => {
      for (;;) {
        const { text, record } = await this.#read(name);
        if (!record) return undefined;
        if (!(await this.#replace(name, text, ''))) continue;
        await this.#dropVersions(name, record.versions);
        return record;
      }
    });
  }

  /** Removes version records from before `beforeMs` (epoch) that no function lists. @returns how many */
  async sweep(beforeMs: number): Promise<number> {
    return this.#reach(async () => {
      let removed = 0;
      for await (const version of this.#allVersions()) {
        if (version.createdAtMs >= beforeMs) continue;
        const record = await this.#record(version.function);
        if (record?.versions.some((listed) => listed.version === version.version)) continue;
        removed += await this.#redis.del(functionKeys.version(version.function, version.version));
      }
      return removed;
    });
  }

  /** Images that any version record refers to, published or not. */
  async images(): Promise<Set<string>> {
    return this.#reach(async () => {
      const images = new Set<string>();
      for await (const version of this.#allVersions()) images.add(version.image);
      return images;
    });
  }

  async *#allVersions(): AsyncGenerator<VersionRecord> {
    for await (const keys of this.#redis.scanStream({ match: everyVersionKey, count: 500 })) {
      for (const key of new Set(keys as string[])) {
        const text = await this.#redis.get(key);
        if (text !== null) yield versionRecordSchema.parse(JSON.parse(text));
      }
    }
  }

  async #record(name: string): Promise<FunctionRecord | undefined> {
    return (await this.#read(name)).record;
  }

  async #read(name: string): Promise<{ text: string; record: FunctionRecord | undefined }> {
    const text = (await this.#redis.get(functionKeys.function(name))) ?? '';
    return { text, record: text === '' ? undefined : functionRecordSchema.parse(JSON.parse(text)) };
  }

  async #version(name: string, version: number): Promise<VersionRecord | undefined> {
    const text = await this.#redis.get(functionKeys.version(name, version));
    return text === null ? undefined : versionRecordSchema.parse(JSON.parse(text));
  }

  async #replace(name: string, expected: string, next: string): Promise<boolean> {
    const keys = [functionKeys.function(name), functionKeys.index];
    const replaced = await this.#redis.eval(replaceRecord, 2, ...keys, expected, next, name, functionKeys.changes);
    return replaced === 1;
  }

  async #dropVersions(name: string, versions: FunctionRecord['versions']): Promise<void> {
    if (versions.length === 0) return;
    await this.#redis.del(...versions.map((dropped) => functionKeys.version(name, dropped.version)));
  }

  /** Errors of the connection, and of a Redis that is loading or full, as what a caller may see. */
  async #reach<T>(operation: () => Promise<T>): Promise<T> {
    try {
      return await operation();
    } catch (cause) {
      if (cause instanceof StokeError || !isRedisError(cause)) throw cause;
      throw new StokeError('unavailable', 'the store of function records is away', { cause });
    }
  }
}

/** ioredis has no common base class for "not connected", "connection closed" and a server's error answer. */
function isRedisError(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return (
    error.name === 'ReplyError' ||
    error.name === 'AbortError' ||
    /stream isn't writeable|connection is closed|timed out/i.test(error.message)
  );
}
