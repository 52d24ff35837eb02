/** A gateway in the test's own process that keeps what it is sent: contracts/management-api.ts over a map. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type ErrorBody, errorCodes } from '../../../services/contracts/errors.ts';
import { type DeployRequest, deployRequestSchema } from '../../../services/contracts/management-api.ts';

type Handler = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void;

export interface TestGateway extends AsyncDisposable {
  readonly url: string;
  /** Tars by digest. */
  readonly layers: Map<string, Buffer>;
  readonly deploys: DeployRequest[];
  /** `PUT`s of layers so far. */
  readonly uploads: string[];
  /** What `/fn/…` and everything else answers; a test sets it. */
  handler: Handler;
}

export async function startTestGateway(): Promise<TestGateway> {
  const server = createServer((request, response) => {
    collect(request).then(
      (body) => answer(gateway, request, response, body),
      () => response.destroy(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const gateway: TestGateway = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    layers: new Map(),
    deploys: [],
    uploads: [],
    handler: (_request, response) => sendError(response, { code: 'not_found', message: 'nothing here' }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return gateway;
}

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

export function sendError(response: ServerResponse, error: ErrorBody): void {
  sendJson(response, errorCodes[error.code].status, { error });
}

function answer(gateway: TestGateway, request: IncomingMessage, response: ServerResponse, body: Buffer): void {
  const digest = /^\/api\/v1\/layers\/(sha256:[0-9a-f]{64})$/.exec(request.url ?? '')?.[1];
  if (digest && request.method === 'HEAD') response.writeHead(gateway.layers.has(digest) ? 200 : 404).end();
  else if (digest && request.method === 'PUT') storeLayer(gateway, digest, request, response, body);
  else if (request.url === '/api/v1/functions' && request.method === 'POST') deploy(gateway, response, body);
  else gateway.handler(request, response, body);
}

function storeLayer(
  gateway: TestGateway,
  digest: string,
  request: IncomingMessage,
  response: ServerResponse,
  body: Buffer,
): void {
  const got = digestOf(body);
  if (got !== digest) {
    sendError(response, { code: 'digest_mismatch', message: `got ${got}, want ${digest}` });
    return;
  }
  if (request.headers['content-length'] !== String(body.byteLength)) {
    sendError(response, { code: 'invalid_request', message: 'expected a content-length' });
    return;
  }
  gateway.uploads.push(digest);
  gateway.layers.set(digest, body);
  sendJson(response, 201, { digest, sizeBytes: body.byteLength, created: true });
}

function deploy(gateway: TestGateway, response: ServerResponse, body: Buffer): void {
  const parsed = deployRequestSchema.safeParse(JSON.parse(body.toString('utf8')));
  if (!parsed.success) {
    sendError(response, { code: 'invalid_request', message: parsed.error.message });
    return;
  }
  const missing = parsed.data.layers.find((digest) => !gateway.layers.has(digest));
  if (missing) {
    sendError(response, { code: 'layer_missing', message: `layer ${missing} is not there` });
    return;
  }
  const content = JSON.stringify(parsed.data);
  const known = gateway.deploys.findIndex((earlier) => JSON.stringify(earlier) === content);
  if (known < 0) gateway.deploys.push(parsed.data);
  const { name } = parsed.data.config;
  sendJson(response, known < 0 ? 201 : 200, {
    function: name,
    version: known < 0 ? gateway.deploys.length : known + 1,
    digest: digestOf(Buffer.from(content)),
    created: known < 0,
    path: `/fn/${name}`,
    verifyMs: parsed.data.verify ? 4.2 : null,
  });
}

export function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

async function collect(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
