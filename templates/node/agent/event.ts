/** Handler style: what a request is to `handler(event, context)`. Pure. */
import { AnswerError } from './failures.ts';

/**
 * | request | event |
 * |---|---|
 * | no body | its query parameters as an object |
 * | JSON (`application/json`, `…+json`) | the value |
 * | `application/x-www-form-urlencoded` | the fields as an object |
 * | `text/*` | string |
 * | anything else | `Uint8Array` |
 *
 * A parameter or field that occurs more than once is an array of strings.
 * @throws AnswerError `invalid_request` when a JSON body is not JSON
 */
export function toEvent(path: string, contentType: string | undefined, body: Buffer): unknown {
  if (body.byteLength === 0) return queryToObject(path);
  const type = contentType?.toLowerCase() ?? '';
  if (/^[\w.+-]+\/(?:[\w.-]+\+)?json\b/.test(type)) return parseJson(body.toString('utf8'));
  if (type.startsWith('application/x-www-form-urlencoded')) return paramsToObject(body.toString('utf8'));
  if (type.startsWith('text/')) return decodeText(body, /charset="?([\w.:-]+)/.exec(type)?.[1]);
  return Uint8Array.from(body);
}

export function queryToObject(path: string): Record<string, string | string[]> {
  const mark = path.indexOf('?');
  return mark < 0 ? {} : paramsToObject(path.slice(mark + 1));
}

/** First value of a header in the flat list, by its name in lower case. */
export function findHeader(headers: readonly string[], name: string): string | undefined {
  for (let at = 0; at < headers.length; at += 2) if (headers[at] === name) return headers[at + 1];
  return undefined;
}

export function headersToObject(headers: readonly string[]): Record<string, string> {
  const values = new Map<string, string>();
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] as string;
    const before = values.get(name);
    values.set(name, before === undefined ? (headers[at + 1] as string) : `${before}, ${headers[at + 1]}`);
  }
  return Object.fromEntries(values);
}

function paramsToObject(text: string): Record<string, string | string[]> {
  const values = new Map<string, string | string[]>();
  for (const [name, value] of new URLSearchParams(text)) {
    const before = values.get(name);
    if (before === undefined) values.set(name, value);
    else if (Array.isArray(before)) before.push(value);
    else values.set(name, [before, value]);
  }
  // Not by assignment: a parameter may be called "__proto__".
  return Object.fromEntries(values);
}

function decodeText(body: Buffer, charset: string | undefined): string {
  if (charset === undefined || charset === 'utf-8' || charset === 'utf8') return body.toString('utf8');
  try {
    return new TextDecoder(charset).decode(body);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new AnswerError('invalid_request', `request body has the unknown charset "${charset}"; use utf-8`);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const { message } = error as SyntaxError;
    const what = message.replace(/(?: in JSON)? at position .*$|, (?:\.\.\.)?".*$| of JSON input$/s, '');
    const before = text.slice(0, errorOffset(text)).split('\n');
    const line = before.length;
    const column = (before.at(-1) as string).length + 1;
    const where = `line ${line} column ${column}`;
    throw new AnswerError('invalid_request', `request body is not JSON: ${what} at ${where}`, { line, column });
  }
}

/** Index of the first character with which no JSON text can begin as `text` does. V8 tells it for some errors only. */
function errorOffset(text: string): number {
  let good = 0;
  let bad = text.length + 1;
  while (bad - good > 1) {
    const middle = (good + bad) >>> 1;
    if (couldGoOn(text.slice(0, middle))) good = middle;
    else bad = middle;
  }
  return good;
}

function couldGoOn(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    const { message } = error as SyntaxError;
    return /^Un(?:expected end|terminated)/.test(message) || Number(/position (\d+)/.exec(message)?.[1]) >= text.length;
  }
}
