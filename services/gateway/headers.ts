/** Headers on their way through: from the client to the function, and back. Pure. Lists are name, value, name, value … */
import { StokeError } from '../contracts/errors.ts';
import { answerHeaders } from '../contracts/invocation.ts';

/** RFC 9110 section 7.6.1, and `expect`, which the gateway has answered already. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
  'http2-settings',
]);
const platformNames = new Set<string>(Object.values(answerHeaders).map((name) => name.toLowerCase()));

const legalName = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Field content of RFC 9110 section 5.5: visible characters, space, tab and the upper half of latin1. */
const illegalValue = /[^\t\x20-\x7e\x80-\xff]/;

/** Names in a `connection` header, or undefined when it has none that matter. */
function namedByConnection(headers: readonly string[]): Set<string> | undefined {
  let named: Set<string> | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (name.length !== 10 || name.toLowerCase() !== 'connection') continue;
    const value = (headers[i + 1] as string).toLowerCase();
    if (value === 'keep-alive' || value === 'close') continue;
    named ??= new Set();
    for (const option of value.split(',')) named.add(option.trim());
  }
  return named;
}

function isHopByHop(lowerName: string, named: Set<string> | undefined): boolean {
  return hopByHop.has(lowerName) || lowerName.startsWith('proxy-') || named?.has(lowerName) === true;
}

export interface Client {
  address: string;
  /** Name in the URL, for `x-forwarded-prefix`. */
  functionName: string;
}

/** The request's headers as the function gets them: lower-case names, nothing that was meant for this hop, `x-forwarded-*` extended. */
export function requestHeaders(raw: readonly string[], client: Client): string[] {
  const named = namedByConnection(raw);
  const headers: string[] = [];
  let forwardedFor = client.address;
  let proto = 'http';
  let host = '';
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] as string).toLowerCase();
    const value = raw[i + 1] as string;
    if (name.startsWith('x-forwarded-')) {
      if (name === 'x-forwarded-for') {
        forwardedFor = `${value}, ${forwardedFor}`;
        continue;
      }
      if (name === 'x-forwarded-proto') {
        proto = value;
        continue;
      }
      if (name === 'x-forwarded-host') {
        host = value;
        continue;
      }
      if (name === 'x-forwarded-prefix') continue;
    }
    if (name === 'host') host ||= value;
    else if (isHopByHop(name, named)) continue;
    headers.push(name, value);
  }
  headers.push('x-forwarded-for', forwardedFor, 'x-forwarded-proto', proto);
  if (host !== '') headers.push('x-forwarded-host', host);
  headers.push('x-forwarded-prefix', `/fn/${client.functionName}`);
  return headers;
}

export interface AnswerHeaders {
  /** For `writeHead`; without `content-length`, hop-by-hop and platform headers. */
  list: string[];
  /** What the function declared. */
  contentLength: number | undefined;
}

/** @throws StokeError `protocol_violation` for a name or value that HTTP has no place for */
export function functionAnswerHeaders(headers: readonly string[]): AnswerHeaders {
  if (headers.length % 2 !== 0) throw violation('an answer header has a name and no value');
  const named = namedByConnection(headers);
  const list: string[] = [];
  let contentLength: number | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    if (typeof name !== 'string' || !legalName.test(name))
      throw violation(`answer header name ${JSON.stringify(name)} is not legal`);
    if (typeof value !== 'string' || illegalValue.test(value))
      throw violation(`the value of the answer header "${name}" has characters that HTTP does not carry`);
    const lower = name.toLowerCase();
    if (lower === 'content-length') contentLength = parseContentLength(value);
    else if (!isHopByHop(lower, named) && !platformNames.has(lower)) list.push(lower, value);
  }
  return { list, contentLength };
}

function parseContentLength(value: string): number {
  if (/^\d{1,15}$/.test(value)) return Number(value);
  throw violation(`the answer header "content-length" is "${value}", want a number`);
}

function violation(message: string): StokeError {
  return new StokeError('protocol_violation', message);
}

export interface StageTimes {
  queueMs: number | undefined;
  startMs: number | undefined;
  handlerMs: number | undefined;
  totalMs: number;
}

/** `queue;dur=0.41, start;dur=0.02, handler;dur=1.5, total;dur=2.1`; a stage that was not reached is left out. */
export function serverTiming(times: StageTimes): string {
  let text = '';
  if (times.queueMs !== undefined) text += `queue;dur=${round(times.queueMs)}, `;
  if (times.startMs !== undefined) text += `start;dur=${round(times.startMs)}, `;
  if (times.handlerMs !== undefined) text += `handler;dur=${round(times.handlerMs)}, `;
  return `${text}total;dur=${round(times.totalMs)}`;
}

/** Two clocks may differ a little; time is never told as negative. */
function round(ms: number): number {
  return ms > 0 ? Math.round(ms * 1000) / 1000 : 0;
}
