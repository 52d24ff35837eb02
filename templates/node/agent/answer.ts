/** What a handler returned, as status, headers and body. Pure. */
import { AnswerError } from './failures.ts';

export type AnswerBodySource = string | Uint8Array | ReadableStream<unknown> | AsyncIterable<unknown> | null;

export interface Answer {
  readonly status: number;
  /** name, value, name, value … */
  readonly headers: string[];
  readonly body: AnswerBodySource;
}

/** Headers that belong to a connection, which the function does not have. */
const connectionHeaders = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade']);

/**
 * The answer for what `handler` returned.
 *
 * | returned | answer |
 * |---|---|
 * | `undefined` | 204 |
 * | string | `text/plain; charset=utf-8` |
 * | bytes (`Uint8Array`, `Buffer`, any view, `ArrayBuffer`) | `application/octet-stream` |
 * | `Response` | as it is |
 * | `ReadableStream`, async iterable | streamed `application/octet-stream` |
 * | object with a number `statusCode` | Lambda proxy result |
 * | anything else, also `null` | `application/json` |
 *
 * @throws AnswerError `result_not_serializable`
 */
export function toAnswer(result: unknown): Answer {
  if (result === undefined) return { status: 204, headers: [], body: null };
  if (typeof result === 'string') return ok('text/plain; charset=utf-8', result);
  if (typeof result === 'object' && result !== null) {
    if (result instanceof Response) return fromResponse(result);
    if (ArrayBuffer.isView(result)) {
      return ok('application/octet-stream', new Uint8Array(result.buffer, result.byteOffset, result.byteLength));
    }
    if (result instanceof ArrayBuffer) return ok('application/octet-stream', new Uint8Array(result));
    if (Symbol.asyncIterator in result) return ok('application/octet-stream', result as AsyncIterable<unknown>);
    if (typeof (result as { statusCode?: unknown }).statusCode === 'number') return fromProxyResult(result);
  }
  return ok('application/json', toJson(result));
}

function ok(contentType: string, body: AnswerBodySource): Answer {
  return { status: 200, headers: ['content-type', contentType], body };
}

/** @throws AnswerError unless `result` is a usable `Response`; also one of another realm or package counts */
export function fromResponse(result: unknown): Answer {
  if (!isResponse(result)) {
    throw new AnswerError('result_not_serializable', `fetch returned ${kind(result)}, expected a Response`);
  }
  const { status, body } = result;
  if (status < 200 || status > 599) {
    const what = result.type === 'error' ? 'Response.error()' : `a Response with status ${status}`;
    throw new AnswerError('result_not_serializable', `${what} cannot be sent; use a status of 200 to 599`);
  }
  if (result.bodyUsed) {
    throw new AnswerError('result_not_serializable', 'the body of the Response was read already; return a clone');
  }
  const headers: string[] = [];
  // A response that `fetch` got has been decoded, but still has the headers of its encoded form.
  const decoded = result.url !== '' && result.headers.has('content-encoding');
  for (const [name, value] of result.headers) {
    if (connectionHeaders.has(name)) continue;
    if (decoded && (name === 'content-encoding' || name === 'content-length')) continue;
    headers.push(name, value);
  }
  return { status, headers, body };
}

function isResponse(value: unknown): value is Response {
  if (value instanceof Response) return true;
  const other = value as Partial<Response> | null | undefined;
  return (
    typeof other === 'object' &&
    other !== null &&
    typeof other.status === 'number' &&
    typeof other.headers?.[Symbol.iterator] === 'function' &&
    typeof other.arrayBuffer === 'function'
  );
}

interface ProxyResult {
  statusCode: number;
  headers?: Record<string, unknown> | null;
  multiValueHeaders?: Record<string, unknown[]> | null;
  cookies?: unknown[] | null;
  body?: unknown;
  isBase64Encoded?: boolean;
}

/** Lambda proxy result, formats 1.0 and 2.0 of AWS API Gateway. */
function fromProxyResult(value: object): Answer {
  const result = value as ProxyResult;
  const status = result.statusCode;
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw new AnswerError('result_not_serializable', `statusCode ${status}: expected an integer from 200 to 599`);
  }
  const multi = Object.entries(result.multiValueHeaders ?? {});
  const repeated = new Set(multi.map(([name]) => name.toLowerCase()));
  const headers: string[] = [];
  for (const [name, one] of Object.entries(result.headers ?? {})) {
    if (!repeated.has(name.toLowerCase()) && one !== undefined && one !== null) addHeader(headers, name, one);
  }
  for (const [name, values] of multi) for (const one of values) addHeader(headers, name, one);
  for (const cookie of result.cookies ?? []) addHeader(headers, 'set-cookie', cookie);
  const { body } = result;
  const encoded = result.isBase64Encoded === true;
  if (typeof body === 'string' && encoded)
    return withType(status, headers, 'octet-stream', Buffer.from(body, 'base64'));
  if (body === undefined || body === null) return { status, headers, body: null };
  return withType(status, headers, 'json', typeof body === 'string' ? body : toJson(body));
}

function withType(status: number, headers: string[], subtype: string, body: AnswerBodySource): Answer {
  if (!headers.includes('content-type')) headers.push('content-type', `application/${subtype}`);
  return { status, headers, body };
}

function addHeader(headers: string[], name: string, given: unknown): void {
  const value = String(given);
  const lower = name.toLowerCase();
  if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(lower)) {
    throw new AnswerError('result_not_serializable', `header name ${JSON.stringify(name)} has a forbidden character`);
  }
  if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
    const shown = JSON.stringify(value.slice(0, 100));
    throw new AnswerError('result_not_serializable', `header "${lower}": value ${shown} has a forbidden character`);
  }
  if (!connectionHeaders.has(lower)) headers.push(lower, value);
}

function toJson(result: unknown): string {
  let text: string | undefined;
  let cause: unknown;
  try {
    text = JSON.stringify(result);
  } catch (error) {
    cause = error;
  }
  if (text !== undefined) return text;
  const where = findUnserializable(result, 'result', []) ?? (cause instanceof Error ? cause.message : kind(result));
  throw new AnswerError('result_not_serializable', `the result cannot be sent as JSON: ${where}`);
}

/** Where the first thing is that JSON refuses: `result.items[3] is a BigInt`. */
function findUnserializable(
  value: unknown,
  path: string,
  above: { value: object; path: string }[],
): string | undefined {
  if (typeof value === 'bigint') return `${path} is a BigInt`;
  if ((typeof value === 'function' || typeof value === 'symbol') && above.length === 0)
    return `${path} is a ${typeof value}`;
  if (typeof value !== 'object' || value === null) return undefined;
  const same = above.find((one) => one.value === value);
  if (same) return `${path} is ${same.path} again, a cycle`;
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return undefined;
  const here = [...above, { value, path }];
  for (const [key, inner] of Object.entries(value)) {
    const step = Array.isArray(value)
      ? `[${key}]`
      : /^[A-Za-z_$][\w$]*$/.test(key)
        ? `.${key}`
        : `[${JSON.stringify(key)}]`;
    const found = findUnserializable(inner, path + step, here);
    if (found) return found;
  }
  return undefined;
}

/** A value's kind for messages: `undefined`, `a string`, `an object with keys a, b`. */
function kind(value: unknown): string {
  if (value === undefined || value === null) return String(value);
  if (Array.isArray(value)) return 'an array';
  if (typeof value !== 'object') return `a ${typeof value}`;
  const keys = Object.keys(value);
  return keys.length === 0 ? 'an object without keys' : `an object with keys ${keys.slice(0, 10).join(', ')}`;
}
