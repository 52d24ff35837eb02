/** Cuts output into lines. Pure but for its own rest. */
import { StringDecoder } from 'node:string_decoder';

/** A longer line is cut there; what follows up to its end is dropped. */
export const maxLineLength = 16 * 1024;
const cutMark = ' … (line cut at 16 KiB)';

export class LineSplitter {
  readonly #decoder = new StringDecoder('utf8');
  #rest = '';
  #cut = false;

  /** Calls `onLine` for each line that is complete now, without its line feed. */
  push(chunk: Buffer, onLine: (line: string) => void): void {
    const text = this.#decoder.write(chunk);
    let start = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      this.#extend(text.slice(start, end));
      this.#finish(onLine);
      start = end + 1;
    }
    if (start < text.length) this.#extend(text.slice(start));
  }

  /** The last line, when it has no line feed. */
  flush(onLine: (line: string) => void): void {
    this.#extend(this.#decoder.end());
    if (this.#rest !== '' || this.#cut) this.#finish(onLine);
  }

  #extend(text: string): void {
    if (this.#cut) return;
    this.#rest += text;
    if (this.#rest.length <= maxLineLength) return;
    this.#rest = this.#rest.slice(0, maxLineLength);
    this.#cut = true;
  }

  #finish(onLine: (line: string) => void): void {
    const line = this.#rest.endsWith('\r') ? this.#rest.slice(0, -1) : this.#rest;
    const cut = this.#cut;
    this.#rest = '';
    this.#cut = false;
    onLine(cut ? line + cutMark : line);
  }
}
