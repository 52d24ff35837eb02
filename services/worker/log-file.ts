/**
 * The log of one function: NDJSON in a folder of bounded segments, each named by the time of its first entry. One writer:
 * this object; its writes are chained. Lines are handed out as they were written.
 */
import { appendFile, mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { LogEntry } from '../contracts/invocation.ts';

export interface LogBounds {
  segmentBytes: number;
  segments: number;
}

export const logBounds: LogBounds = { segmentBytes: 4 * 1024 * 1024, segments: 4 };

/** Beyond this much unwritten output the disk is too slow, and lines are dropped with a note. */
const maxBufferedLength = 2 * 1024 * 1024;
/** Clocks of ids and of entries may differ by this much. */
const clockSlackMs = 1000;

export interface LogQuery {
  invocation?: string | undefined;
  /** Last so many lines. */
  tail?: number | undefined;
}

/** How far the log had been written at some moment. */
interface LogEnd {
  segment: string;
  bytes: number;
}

export class LogFile {
  readonly #folder: string;
  readonly #bounds: LogBounds;
  #buffer: string[] = [];
  #bufferedLength = 0;
  #dropped = 0;
  #end: LogEnd | undefined;
  #writes: Promise<void> = Promise.resolve();

  constructor(folder: string, bounds: LogBounds = logBounds) {
    this.#folder = folder;
    this.#bounds = bounds;
  }

  append(entry: LogEntry): void {
    if (this.#bufferedLength > maxBufferedLength) {
      this.#dropped++;
      return;
    }
    const line = `${JSON.stringify(entry)}\n`;
    this.#buffer.push(line);
    this.#bufferedLength += line.length;
  }

  /** Writes what was appended until now. @throws what the disk says; the lines are lost then */
  flush(): Promise<void> {
    const lines = this.#buffer;
    if (this.#dropped > 0) lines.push(droppedNote(lines, this.#dropped));
    this.#buffer = [];
    this.#dropped = 0;
    const write = this.#writes
      .then(() => this.#write(lines))
      .finally(() => {
        this.#bufferedLength = this.#buffer.reduce((sum, line) => sum + line.length, 0);
      });
    // The next write is tried also after a failed one; who waits for this one learns of its failure.
    this.#writes = write.catch(() => undefined);
    return write;
  }

  /** Lines in the order they were written, a segment at a time; what is appended after the call is not among them. */
  async *read(query: LogQuery): AsyncGenerator<string[]> {
    await this.flush();
    const end = this.#end;
    if (!end) return;
    const names = (await this.#segmentNames()).filter((name) => name <= end.segment);
    if (query.tail !== undefined) {
      yield await this.#tail(names, end, query, query.tail);
      return;
    }
    for (const name of fromInvocation(names, query.invocation)) yield await this.#lines(name, end, query);
  }

  async remove(): Promise<void> {
    this.#buffer = [];
    this.#bufferedLength = 0;
    const removal = this.#writes.then(() => rm(this.#folder, { recursive: true, force: true }));
    this.#writes = removal.catch(() => undefined);
    await removal;
    this.#end = undefined;
  }

  async #tail(names: string[], end: LogEnd, query: LogQuery, count: number): Promise<string[]> {
    let lines: string[] = [];
    for (const name of fromInvocation(names, query.invocation).reverse()) {
      if (lines.length >= count) break;
      lines = [...(await this.#lines(name, end, query)), ...lines];
    }
    return count === 0 ? [] : lines.slice(-count);
  }

  async #lines(name: string, end: LogEnd, { invocation }: LogQuery): Promise<string[]> {
    const bytes = await readFile(join(this.#folder, name)).catch(absent);
    if (!bytes) return [];
    const text = bytes.subarray(0, name === end.segment ? end.bytes : bytes.byteLength).toString('utf8');
    const lines = text.split('\n').filter((line) => line !== '');
    if (invocation === undefined) return lines;
    // Quotes inside of JSON strings are escaped, so this text stands nowhere but in its field.
    const mark = `"invocation":${JSON.stringify(invocation)}`;
    return lines.filter((line) => line.includes(mark));
  }

  async #write(lines: string[]): Promise<void> {
    if (!this.#end) await this.#open();
    if (lines.length === 0) return;
    const text = lines.join('');
    if (!this.#end || this.#end.bytes >= this.#bounds.segmentBytes) await this.#rotate();
    const end = this.#end as unknown as LogEnd;
    try {
      await appendFile(join(this.#folder, end.segment), text, { mode: 0o640 });
      this.#end = { segment: end.segment, bytes: end.bytes + Buffer.byteLength(text) };
    } catch (error) {
      // How much was written is not known: look again.
      this.#end = undefined;
      throw error;
    }
  }

  /** Goes on where an earlier worker stopped. */
  async #open(): Promise<void> {
    const last = (await this.#segmentNames()).at(-1);
    if (last === undefined) return;
    this.#end = { segment: last, bytes: (await stat(join(this.#folder, last))).size };
  }

  async #rotate(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o750 });
    const names = await this.#segmentNames();
    const last = Number(names.at(-1)?.split('.')[0] ?? 0);
    const atMs = Math.max(Date.now(), last + 1);
    this.#end = { segment: `${String(atMs).padStart(14, '0')}.ndjson`, bytes: 0 };
    const excess = Math.max(0, names.length + 1 - this.#bounds.segments);
    for (const name of names.slice(0, excess)) await rm(join(this.#folder, name), { force: true });
  }

  async #segmentNames(): Promise<string[]> {
    const names = (await readdir(this.#folder).catch(absent)) ?? [];
    return names.filter((name) => /^\d{14}\.ndjson$/.test(name)).sort();
  }
}

/** Segments that may hold the invocation: its id (UUID version 7) begins with its time. */
function fromInvocation(names: string[], invocation: string | undefined): string[] {
  const digits = invocation?.replaceAll('-', '').slice(0, 12) ?? '';
  if (!/^[0-9a-f]{12}$/.test(digits)) return names;
  const sinceMs = Number.parseInt(digits, 16) - clockSlackMs;
  // A segment's entries end where the next one's begin.
  return names.filter((_, at) => Number(names[at + 1]?.split('.')[0] ?? Number.POSITIVE_INFINITY) >= sinceMs);
}

function droppedNote(lines: string[], dropped: number): string {
  const last = JSON.parse(lines.at(-1) ?? 'null') as LogEntry | null;
  const text = `${dropped} lines were dropped: the disk is slower than the output`;
  const note: LogEntry = { version: 0, instance: '', ...last, t: Date.now(), invocation: null, stream: 'system', text };
  return `${JSON.stringify(note)}\n`;
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}
