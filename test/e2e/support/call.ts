/** Calls over HTTP as a client makes them, on a connection of their own, with everything that came back. */
import { type IncomingHttpHeaders, type IncomingMessage, type OutgoingHttpHeaders, request } from 'node:http';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type { ErrorBody } from '../../../services/contracts/errors.ts';

export interface CallOptions {
  method?: string;
  headers?: OutgoingHttpHeaders;
  body?: string | Uint8Array | Readable;
  signal?: AbortSignal;
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  rawHeaders: string[];
  bytes: Buffer;
  text: string;
  /** Parsed when it is read. */
  json<T = unknown>(): T;
  /** The error that the platform answered with. */
  error(): ErrorBody;
}

/** @returns the answer once its head is here; its body is the caller's to read */
export function open(url: string, options: CallOptions = {}): Promise<IncomingMessage> {
  const { body, headers = {}, signal } = options;
  return new Promise((resolve, reject) => {
    const outgoing = request(url, {
      agent: false,
      method: options.method ?? (body === undefined ? 'GET' : 'POST'),
      headers,
      ...(signal ? { signal } : {}),
    });
    outgoing.once('error', reject).once('response', resolve);
    if (body === undefined || typeof body === 'string' || body instanceof Uint8Array) outgoing.end(body);
    else body.once('error', (error) => outgoing.destroy(error)).pipe(outgoing);
  });
}

export async function call(url: string, options: CallOptions = {}): Promise<Answer> {
  const answer = await open(url, options);
  const bytes = await buffer(answer);
  const text = bytes.toString('utf8');
  return {
    status: answer.statusCode as number,
    headers: answer.headers,
    rawHeaders: answer.rawHeaders,
    bytes,
    text,
    json: <T>() => JSON.parse(text) as T,
    error: () => (JSON.parse(text) as { error: ErrorBody }).error,
  };
}

/** Milliseconds by stage, as `Server-Timing` tells them. */
export function timing(answer: Pick<Answer, 'headers'>): Record<string, number> {
  const stages: Record<string, number> = {};
  for (const [, stage = '', ms] of String(answer.headers['server-timing']).matchAll(/(\w+);dur=([\d.]+)/g))
    stages[stage] = Number(ms);
  return stages;
}
