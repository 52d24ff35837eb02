/** The logs of all functions of this node. The only writer below `<home>/logs/functions`. */
import { join } from 'node:path';
import type { LogEntry } from '../contracts/invocation.ts';
import type { Log } from '../platform/log.ts';
import { LogFile, type LogQuery } from './log-file.ts';
import type { LogSink } from './output.ts';

const flushAfterMs = 150;

export type LogListener = (entry: LogEntry) => void;

export class LogStore implements LogSink {
  readonly #folder: string;
  readonly #log: Log;
  readonly #files = new Map<string, LogFile>();
  readonly #listeners = new Map<string, Set<LogListener>>();
  /** Functions with unwritten entries. */
  readonly #dirty = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #failed = false;

  /** @param folder `<home>/logs/functions` */
  constructor(folder: string, log: Log) {
    this.#folder = folder;
    this.#log = log;
  }

  append(name: string, entry: LogEntry): void {
    this.#file(name).append(entry);
    this.#dirty.add(name);
    this.#timer ??= setTimeout(() => void this.flush(), flushAfterMs);
    const listeners = this.#listeners.get(name);
    if (listeners) for (const listener of listeners) listener(entry);
  }

  /** Kept lines of a function; everything appended before the call is among them, nothing after it. */
  read(name: string, query: LogQuery): AsyncGenerator<string[]> {
    return this.#file(name).read(query);
  }

  /** Calls back for each entry from now on. @returns a function that ends it */
  follow(name: string, listener: LogListener): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#listeners.delete(name);
    };
  }

  async remove(name: string): Promise<void> {
    await this.#file(name).remove();
    this.#files.delete(name);
    this.#dirty.delete(name);
  }

  /** Never rejects: that output cannot be kept is said in the service's log, once until it works again. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const names = [...this.#dirty];
    this.#dirty.clear();
    const results = await Promise.allSettled(names.map((name) => this.#file(name).flush()));
    const failure = results.find((result) => result.status === 'rejected');
    if (failure && !this.#failed) this.#log.error({ err: failure.reason }, 'function logs cannot be written');
    if (names.length > 0) this.#failed = failure !== undefined;
  }

  #file(name: string): LogFile {
    let file = this.#files.get(name);
    if (!file) {
      file = new LogFile(join(this.#folder, name));
      this.#files.set(name, file);
    }
    return file;
  }
}
