/**
 * Turns what one instance writes, and what the platform says about it, into log entries. The only writer of the entries
 * of its instance; it decides which invocation a line belongs to and where output is cut.
 */
import type { Socket } from 'node:net';
import { logStreams } from '../contracts/agent.ts';
import { FrameError } from '../contracts/frames.ts';
import type { LogEntry } from '../contracts/invocation.ts';
import type { Invocation } from './invocation.ts';
import { LineSplitter } from './line-splitter.ts';
import { OutputBudget } from './output-budget.ts';
import { OutputThrottle } from './output-throttle.ts';

export interface LogSink {
  append(functionName: string, entry: LogEntry): void;
}

/** Kept in memory for the error of an instance that ends. */
const recentLines = 20;
const recentLineLength = 500;

type OutputStream = 'stdout' | 'stderr';

export class InstanceOutput {
  readonly throttle = new OutputThrottle();
  readonly #sink: LogSink;
  readonly #of: { readonly function: string; readonly version: number; readonly instance: string };
  readonly #stray = new OutputBudget(true);
  readonly #recent: string[] = [];
  readonly #splitters = { stdout: new LineSplitter(), stderr: new LineSplitter() };
  readonly #open = new Set<Socket>();
  readonly #attached = new Set<OutputStream>();
  /** Whom raw output belongs to just now. */
  readonly #attribute: () => Invocation | undefined;

  constructor(
    sink: LogSink,
    of: { readonly function: string; readonly version: number; readonly instance: string },
    attribute: () => Invocation | undefined,
  ) {
    this.#sink = sink;
    this.#of = of;
    this.#attribute = attribute;
  }

  /** The last lines of output, oldest first. */
  get recent(): readonly string[] {
    return this.#recent;
  }

  /** Reads a raw channel until it ends. `first` is what came with its hello. @returns whether it is the first such channel */
  attach(channel: OutputStream, socket: Socket, first: Buffer): boolean {
    if (this.#attached.has(channel)) return false;
    this.#attached.add(channel);
    const lines = new LineSplitter();
    const take = (chunk: Buffer) => {
      const invocation = this.#attribute();
      lines.push(chunk, (line) => this.#write(invocation, channel, line));
      this.throttle.spend(chunk.byteLength);
    };
    this.#open.add(socket);
    this.throttle.add(socket);
    socket.on('data', take);
    // The end follows as `close`; what was read until then is all there is.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      lines.flush((line) => this.#write(this.#attribute(), channel, line));
      this.#open.delete(socket);
    });
    if (first.byteLength > 0) take(first);
    return true;
  }

  /** @throws FrameError on an unknown output stream */
  logFrame(invocation: Invocation | undefined, payload: Buffer): void {
    const channel = payload[0] === logStreams.stdout ? 'stdout' : 'stderr';
    if (channel === 'stderr' && payload[0] !== logStreams.stderr) throw new FrameError(`log stream ${payload[0]}`);
    this.#splitter(invocation, channel).push(payload.subarray(1), (line) => this.#write(invocation, channel, line));
    this.throttle.spend(payload.byteLength);
  }

  /** Writes what the invocation left without a line feed. */
  flush(invocation: Invocation | undefined): void {
    const lines = invocation ?? this.#splitters;
    lines.stdout?.flush((line) => this.#write(invocation, 'stdout', line));
    lines.stderr?.flush((line) => this.#write(invocation, 'stderr', line));
  }

  /** The error of an invocation or of a start, for the function's author. */
  error(invocation: Invocation | undefined, text: string): void {
    for (const line of text.split('\n')) this.#write(invocation, 'stderr', line);
  }

  /** Said by the platform; never cut. */
  system(invocation: Invocation | undefined, text: string): void {
    this.#append(invocation, 'system', text);
  }

  /** Resolves once the raw channels have ended, or after `boundMs`; then they are closed. */
  async drained(boundMs: number): Promise<void> {
    this.throttle.release();
    const ends = [...this.#open].map((socket) => new Promise((resolve) => socket.once('close', resolve)));
    let timer: NodeJS.Timeout | undefined;
    const bound = new Promise((resolve) => {
      timer = setTimeout(resolve, boundMs);
    });
    await Promise.race([Promise.all(ends), bound]);
    clearTimeout(timer);
    for (const socket of this.#open) socket.destroy();
  }

  #splitter(invocation: Invocation | undefined, channel: OutputStream): LineSplitter {
    if (!invocation) return this.#splitters[channel];
    invocation[channel] ??= new LineSplitter();
    return invocation[channel];
  }

  #write(invocation: Invocation | undefined, stream: OutputStream, text: string): void {
    if (this.#recent.length === recentLines) this.#recent.shift();
    this.#recent.push(text.slice(0, recentLineLength));
    const verdict = (invocation?.output ?? this.#stray).spend(text.length + 1);
    if (verdict === 'keep') this.#append(invocation, stream, text);
    else if (verdict === 'cut')
      this.#append(
        invocation,
        'system',
        invocation ? 'output cut here: 256 KiB are kept of an invocation' : 'output outside of invocations cut here',
      );
  }

  #append(invocation: Invocation | undefined, stream: LogEntry['stream'], text: string): void {
    const { function: name, version, instance } = this.#of;
    this.#sink.append(name, {
      t: Date.now(),
      invocation: invocation?.item.id ?? null,
      version,
      instance,
      stream,
      text,
    });
  }
}
