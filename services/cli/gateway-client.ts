/**
 * Finds the gateway and speaks its management API (contracts/management-api.ts) and its invoke path.
 * On node:http: the global fetch alone would cost a third of the command's start-up time.
 */
import { readFileSync } from 'node:fs';
import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http';
import { join } from 'node:path';
import { pipeline, type Readable } from 'node:stream';
import type { z } from 'zod';
import { errorBodySchema, StokeError } from '../contracts/errors.ts';
import { type Config, parseConfig } from '../platform/config.ts';
import { CliError } from './output.ts';

/** Not imported: an import reads every export, and node:http's WebSocket would load all of undici (10 ms). */
const http = process.getBuiltinModule('node:http');

export interface GatewayRequest {
  method: string;
  /** Path and query on the gateway, beginning with `/`. */
  path: string;
  headers?: Record<string, string | string[]>;
  /** Whole, or streamed; a stream of known length brings its `content-length` in `headers`. */
  body?: Uint8Array | string | Readable;
  signal?: AbortSignal | undefined;
}

export class GatewayClient {
  /** Without a slash at its end. */
  readonly url: string;

  constructor(url: string) {
    this.url = url.replace(/\/+$/, '');
  }

  /**
   * Sends a request and hands out whatever comes back, errors included.
   * @throws CliError when no answer comes
   */
  async send(options: GatewayRequest): Promise<IncomingMessage> {
    options.signal?.throwIfAborted();
    const url = new URL(this.url + options.path);
    const request = url.protocol === 'https:' ? (await import('node:https')).request : http.request;
    return new Promise((resolve, reject) => {
      const settings: RequestOptions = { method: options.method, agent: false };
      if (options.headers) settings.headers = options.headers;
      if (options.signal) settings.signal = options.signal;
      const outgoing = request(url, settings);
      outgoing.on('error', (cause) => reject(this.#connectionError(cause)));
      outgoing.on('response', resolve);
      writeBody(outgoing, options.body);
    });
  }

  /**
   * One call of the management API.
   * @returns the body of a 2xx answer, as `schema` reads it
   * @throws StokeError from the answer's error body; CliError when there is no gateway or it says something else
   */
  async json<Schema extends z.ZodType>(schema: Schema, options: GatewayRequest): Promise<z.output<Schema>> {
    const answer = await this.ok(options);
    const text = (await readAll(answer)).toString('utf8');
    try {
      return schema.parse(JSON.parse(text));
    } catch (cause) {
      throw new CliError(`the gateway at ${this.url} answered what this fn does not understand`, {
        code: 'unexpected_answer',
        remedy: 'fn and the gateway may be of different versions; fn up starts the one that belongs to this fn',
        cause,
      });
    }
  }

  /** As `send`, but an answer of 300 and above is thrown as its error. */
  async ok(options: GatewayRequest): Promise<IncomingMessage> {
    const answer = await this.send(options);
    if ((answer.statusCode ?? 500) < 300) return answer;
    throw parseError(await readAll(answer)) ?? this.#statusError(answer);
  }

  #statusError(answer: IncomingMessage): CliError {
    return new CliError(`what listens at ${this.url} answered ${answer.statusCode} ${answer.statusMessage}`, {
      code: 'unexpected_answer',
      remedy: 'it may not be a gateway; STOKE_URL says which one to use',
    });
  }

  #connectionError(cause: NodeJS.ErrnoException): Error {
    if (cause.name === 'AbortError') return cause;
    const remedy = { code: 'no_gateway', remedy: 'start it with: fn up', cause };
    if (cause.code === 'ECONNREFUSED') return new CliError(`no gateway answers at ${this.url}`, remedy);
    return new CliError(`the connection to the gateway at ${this.url} failed: ${cause.message}`, {
      ...remedy,
      remedy: 'see what runs with: fn status; STOKE_URL says which gateway to use',
    });
  }
}

/** The error of an answer that broke off in the middle. */
export function connectionLost(cause: unknown): CliError {
  return new CliError('the connection to the gateway was lost before the answer was complete', {
    code: 'connection_lost',
    remedy: 'see what runs with: fn status',
    cause,
  });
}

function writeBody(outgoing: ClientRequest, body: GatewayRequest['body']): void {
  if (body === undefined || typeof body === 'string' || body instanceof Uint8Array) outgoing.end(body);
  // A failed source destroys the request with the source's error, which then is the request's.
  else pipeline(body, outgoing, () => undefined);
}

/** The error in an answer's body, or undefined when the body is something else. */
export function parseError(body: Buffer): StokeError | undefined {
  let document: unknown;
  try {
    document = JSON.parse(body.toString('utf8'));
  } catch {
    return undefined; // Not JSON, so not from the gateway's own code: the caller says what it got instead.
  }
  const parsed = errorBodySchema.safeParse((document as { error?: unknown } | null)?.error);
  return parsed.success ? StokeError.from(parsed.data) : undefined;
}

/** All of a body; for answers whose size the gateway bounds. */
export async function readAll(body: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/**
 * The gateway to use: `STOKE_URL`, else the one that runs here (`<run>/gateway.json`), else where one would listen.
 * @throws CliError when the configuration is wrong
 */
export function findGateway(environment: NodeJS.ProcessEnv = process.env): GatewayClient {
  if (environment.STOKE_URL) return new GatewayClient(checkUrl(environment.STOKE_URL));
  let config: Config;
  try {
    config = parseConfig(environment);
  } catch (cause) {
    throw new CliError((cause as Error).message, { code: 'invalid_config', cause });
  }
  return new GatewayClient(readRunningUrl(join(config.run, 'gateway.json')) ?? listenUrl(config.listen));
}

function checkUrl(text: string): string {
  if (/^https?:$/.test(URL.parse(text)?.protocol ?? '')) return text;
  throw new CliError(`STOKE_URL "${text}" is not the address of a gateway`, {
    code: 'invalid_config',
    remedy: 'write for example STOKE_URL=http://127.0.0.1:8080',
  });
}

/** What the running gateway wrote about itself; undefined when none runs here or the file is not ours to read. */
function readRunningUrl(path: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'EACCES' || code === 'ENOTDIR') return undefined;
    throw error;
  }
  try {
    return checkUrl((JSON.parse(text) as { url: string }).url);
  } catch (cause) {
    throw new CliError(`${path} does not hold the address of a gateway`, {
      code: 'invalid_config',
      remedy: 'restart with: fn down; fn up',
      cause,
    });
  }
}

/** An address to connect to; a gateway that listens everywhere is reached on the loopback. */
function listenUrl({ host, port }: Config['listen']): string {
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}
