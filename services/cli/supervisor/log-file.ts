/** A log file that never grows beyond a bound: when it is full it becomes `<file>.1` and a new one begins. */
import { closeSync, constants, fstatSync, openSync, renameSync, writeSync } from 'node:fs';

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = constants;

export class LogFile {
  readonly #path: string;
  readonly #maxBytes: number;
  #fd: number | undefined;
  #bytes = 0;

  constructor(path: string, maxBytes = 8 * 1024 * 1024) {
    this.#path = path;
    this.#maxBytes = maxBytes;
  }

  /** Appends a line. Synchronous: the last line before a crash is the one that matters. */
  write(line: string): void {
    const data = Buffer.from(`${line}\n`);
    if (this.#fd !== undefined && this.#bytes + data.byteLength > this.#maxBytes) this.#rotate();
    this.#fd ??= this.#open();
    writeSync(this.#fd, data);
    this.#bytes += data.byteLength;
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #open(): number {
    const fd = openSync(this.#path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o640);
    this.#bytes = fstatSync(fd).size;
    return fd;
  }

  #rotate(): void {
    this.close();
    renameSync(this.#path, `${this.#path}.1`);
  }
}
