/** A small HTTP client for JSON APIs on a unix socket, with connections kept alive. */
import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http';
import type { Readable } from 'node:stream';
import { errorBodySchema, StokeError } from '../contracts/errors.ts';

export interface UnixHttpRequest {
  method: string;
  path: string;
  /** Sent as JSON. */
  json?: unknown;
  /** Sent as it is; its length must be known to the receiver from `headers`, or it goes chunked. */
  body?: Readable;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export interface Duplex {
  readonly outgoing: ClientRequest;
  readonly incoming: IncomingMessage;
}

export class UnixHttpClient {
  readonly #socketPath: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64, keepAliveMsecs: 30_000 });

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /**
   * @returns the parsed JSON of a 2xx answer, undefined for an empty one
   * @throws StokeError from the answer's error body, or `unavailable` when nobody listens
   */
  async json(options: UnixHttpRequest): Promise<unknown> {
    const response = await this.stream(options);
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString('utf8');
    return text === '' ? undefined : JSON.parse(text);
  }

  /** As `json`, but hands out the body of a 2xx answer as it comes. */
  stream(options: UnixHttpRequest): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const text = options.json === undefined ? undefined : JSON.stringify(options.json);
      const headers: Record<string, string | number> = { ...options.headers };
      if (text !== undefined) {
        headers['content-type'] = 'application/json';
        headers['content-length'] = Buffer.byteLength(text);
      }
      const outgoing = request({
        socketPath: this.#socketPath,
        agent: this.#agent,
        method: options.method,
        path: options.path,
        headers,
        ...(options.signal ? { signal: options.signal } : {}),
      });
      outgoing.on('error', (cause) => reject(connectionError(cause)));
      outgoing.on('response', (response) => {
        const status = response.statusCode ?? 500;
        if (status < 300) resolve(response);
        else readError(response).then(reject, reject);
      });
      if (options.body) options.body.on('error', (error) => outgoing.destroy(error)).pipe(outgoing);
      else outgoing.end(text);
    });
  }

  /**
   * Opens a request whose body stays open while the answer's body is read already.
   * @param first written with the headers, so that the peer can answer
   * @throws StokeError as `json`
   */
  duplex(options: { method: string; path: string; first: string; signal: AbortSignal }): Promise<Duplex> {
    return new Promise((resolve, reject) => {
      const { method, path, first, signal } = options;
      // Without the pool: this connection is never given back.
      const outgoing = request({ socketPath: this.#socketPath, agent: false, method, path, signal });
      outgoing.on('error', (cause) => reject(connectionError(cause)));
      outgoing.on('response', (incoming) => {
        if ((incoming.statusCode ?? 500) < 300) resolve({ outgoing, incoming });
        else readError(incoming).then(reject, reject);
      });
      outgoing.write(first);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

function connectionError(cause: Error): Error {
  if (cause.name === 'AbortError') return cause;
  return new StokeError('unavailable', 'the local daemon does not answer', { cause });
}

async function readError(response: IncomingMessage): Promise<StokeError> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString('utf8');
  // An answer to HEAD has no body to say more.
  if (text === '' && response.statusCode === 404)
    return new StokeError('not_found', 'the local daemon has no such thing');
  try {
    return StokeError.from(errorBodySchema.parse((JSON.parse(text) as { error: unknown }).error));
  } catch (cause) {
    return new StokeError('internal', `the local daemon answered ${response.statusCode} without an error body`, {
      cause,
    });
  }
}
