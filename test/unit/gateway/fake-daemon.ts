/** The daemon's images and networks, kept in memory, on a unix socket. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

export interface FakeDaemon {
  readonly layers: Map<string, number>;
  readonly images: Map<string, { layers: string[]; labels: Record<string, string>; createdAtMs: number }>;
  readonly networks: Set<string>;
  close(): Promise<void>;
}

export async function startFakeDaemon(path: string): Promise<FakeDaemon> {
  const daemon = { layers: new Map(), images: new Map(), networks: new Set<string>() };
  const server = createServer((request, response) => {
    serve(daemon, request, response).catch((error: unknown) => response.destroy(error as Error));
  });
  server.listen(path);
  await once(server, 'listening');
  return {
    ...daemon,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

type State = Pick<FakeDaemon, 'layers' | 'images' | 'networks'>;

async function serve(state: State, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await read(request);
  const [, , kind, key] = (request.url as string).split('/') as [string, string, string, string | undefined];
  const answer = (status: number, value?: unknown) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(value === undefined ? undefined : JSON.stringify(value));
  };
  switch (`${request.method} ${kind}`) {
    case 'HEAD layers':
      return answer(state.layers.has(key as string) ? 200 : 404);
    case 'PUT layers': {
      const digest = `sha256:${createHash('sha256').update(body).digest('hex')}`;
      if (digest !== key)
        return answer(400, { error: { code: 'digest_mismatch', message: `got ${digest}, want ${key}` } });
      const created = !state.layers.has(digest);
      state.layers.set(digest, body.byteLength);
      return answer(created ? 201 : 200, { digest, sizeBytes: body.byteLength, created });
    }
    case 'POST images': {
      const { layers, labels } = JSON.parse(body.toString()) as { layers: string[]; labels: Record<string, string> };
      const digest = `sha256:${createHash('sha256').update(body).digest('hex')}`;
      const created = !state.images.has(digest);
      if (created) state.images.set(digest, { layers, labels, createdAtMs: Date.now() });
      return answer(created ? 201 : 200, { digest, created });
    }
    case 'GET images':
      return answer(
        200,
        [...state.images].map(([digest, image]) => ({ digest, ...image })),
      );
    case 'DELETE images':
      return answer(state.images.delete(key as string) ? 204 : 404);
    case 'PUT networks':
      state.networks.add(key as string);
      return answer(204);
    case 'DELETE networks':
      state.networks.delete(key as string);
      return answer(204);
    default:
      return answer(404, { error: { code: 'not_found', message: 'no such path' } });
  }
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
