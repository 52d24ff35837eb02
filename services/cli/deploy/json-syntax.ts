/** Finds where a text stops being JSON (RFC 8259), which `JSON.parse` tells for some mistakes only. Pure. */

export interface JsonMistake {
  /** Of the first character that cannot stand there; the text's length when it ends too early. */
  readonly index: number;
  readonly expected: string;
}

/** The first mistake, or undefined for valid JSON. */
export function findJsonMistake(text: string): JsonMistake | undefined {
  try {
    const scanner = new Scanner(text);
    scanner.value();
    scanner.end();
    return undefined;
  } catch (error) {
    if (error instanceof Mistake) return { index: error.index, expected: error.expected };
    throw error;
  }
}

class Mistake extends Error {
  readonly index: number;
  readonly expected: string;

  constructor(index: number, expected: string) {
    super(`expected ${expected}`);
    this.index = index;
    this.expected = expected;
  }
}

const space = /[ \t\n\r]*/y;
const scalar = /(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.+-])/y;
const characters = /(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*/y;

class Scanner {
  readonly #text: string;
  #index = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(): void {
    this.#take(space);
    const next = this.#text[this.#index];
    if (next === '{') this.#members('}', 'a property name in double quotes', () => this.#property());
    else if (next === '[') this.#members(']', 'a value', () => this.value());
    else if (next === '"') this.#string('a value');
    else if (!this.#take(scalar)) throw new Mistake(this.#index, 'a value');
    this.#take(space);
  }

  end(): void {
    if (this.#index < this.#text.length) throw new Mistake(this.#index, 'the end of the file');
  }

  /** What is between `{` and `}` or `[` and `]`: members with commas between them. */
  #members(close: string, member: string, read: () => void): void {
    this.#index += 1;
    this.#take(space);
    if (this.#skip(close)) return;
    for (;;) {
      if (this.#text[this.#index] === close) throw new Mistake(this.#index, `${member} after the comma`);
      read();
      this.#take(space);
      if (this.#skip(close)) return;
      if (!this.#skip(',')) throw new Mistake(this.#index, `"," or "${close}"`);
      this.#take(space);
    }
  }

  #property(): void {
    this.#string('a property name in double quotes');
    this.#take(space);
    if (!this.#skip(':')) throw new Mistake(this.#index, '":"');
    this.value();
  }

  #string(what: string): void {
    if (!this.#skip('"')) throw new Mistake(this.#index, what);
    this.#take(characters);
    if (this.#skip('"')) return;
    throw new Mistake(this.#index, this.#text[this.#index] === '\\' ? 'a valid escape' : 'the closing double quote');
  }

  #skip(character: string): boolean {
    if (this.#text[this.#index] !== character) return false;
    this.#index += 1;
    return true;
  }

  #take(pattern: RegExp): boolean {
    pattern.lastIndex = this.#index;
    const match = pattern.exec(this.#text);
    if (!match) return false;
    this.#index = pattern.lastIndex;
    return true;
  }
}
