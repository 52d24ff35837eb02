/**
 * The supervisor's control socket `<run>/supervisor.sock`, for root only. Errors are `{"error": ErrorBody}`.
 *
 * | call | does |
 * |---|---|
 * | `GET /status` | `SupervisorStatus` |
 * | `POST /shutdown` | begins the shutdown: `202 {"pid"}`; it is over when that process is gone |
 */
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { StokeError } from '../../contracts/errors.ts';
import { UnixHttpClient } from '../../platform/unix-http.ts';
import type { ProcessStatus } from './process-events.ts';

export interface SupervisorStatus {
  readonly pid: number;
  readonly state: 'starting' | 'ready' | 'stopping';
  /** Of the gateway; null until it is ready for the first time. */
  readonly url: string | null;
  readonly home: string;
  readonly run: string;
  readonly uptimeMs: number;
  readonly processes: readonly ProcessStatus[];
}

export interface Control {
  close(): Promise<void>;
}

/** Whoever calls it holds the lock: a socket that is there already is a dead supervisor's. */
export async function serveControl(
  socketPath: string,
  supervisor: { status(): SupervisorStatus; shutdown(reason: string): void },
): Promise<Control> {
  const server = createServer((request, response) => {
    request.resume();
    switch (`${request.method} ${request.url}`) {
      case 'GET /status':
        return answer(response, 200, supervisor.status());
      case 'POST /shutdown':
        answer(response, 202, { pid: process.pid });
        return supervisor.shutdown('fn down');
      default:
        return refuse(request, response);
    }
  });
  rmSync(socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path: socketPath }, resolve);
  });
  chmodSync(socketPath, 0o600);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      }),
  };
}

/** @returns undefined when no supervisor listens there */
export async function readSupervisorStatus(socketPath: string): Promise<SupervisorStatus | undefined> {
  return (await call(socketPath, 'GET', '/status')) as SupervisorStatus | undefined;
}

/** @returns false when no supervisor listens there */
export async function requestShutdown(socketPath: string): Promise<boolean> {
  return (await call(socketPath, 'POST', '/shutdown')) !== undefined;
}

async function call(socketPath: string, method: string, path: string): Promise<unknown> {
  const client = new UnixHttpClient(socketPath);
  try {
    return await client.json({ method, path, signal: AbortSignal.timeout(5_000) });
  } catch (error) {
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return undefined;
    if (code === 'EACCES') {
      throw new StokeError('forbidden', `only root may speak to the supervisor at ${socketPath}`, {
        details: { remedy: 'run the command with sudo' },
        cause: error,
      });
    }
    throw error;
  } finally {
    client.close();
  }
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function refuse(request: IncomingMessage, response: ServerResponse): void {
  const error = new StokeError('not_found', `no ${request.method} ${request.url} here`);
  answer(response, error.status, { error: error.toBody() });
}
