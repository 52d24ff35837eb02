/** The listening HTTP server: bounds on slow and broken clients, and an end in order. */
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { StokeError } from '../contracts/errors.ts';
import { renderError } from '../platform/http.ts';

/** Longer than the idle time of common proxies, so that it is they who close. */
const keepAliveMs = 65_000;
const headersWithinMs = 20_000;
/** The longest function timeout and a margin: a streamed body may take as long as its call. */
const requestWithinMs = 960_000;
const finishWithinMs = 5000;
const closeIdleEveryMs = 50;

export interface HttpServer {
  readonly port: number;
  /** Takes nothing new, lets what is under way finish for up to 5 s, then cuts it off. */
  close(): Promise<void>;
}

/** @throws Error that names the address when it cannot be taken */
export async function openHttpServer(
  listener: RequestListener,
  address: { host: string; port: number },
): Promise<HttpServer> {
  let closing = false;
  const server = createServer(
    { keepAliveTimeout: keepAliveMs, headersTimeout: headersWithinMs, requestTimeout: requestWithinMs, noDelay: true },
    (request, response) => {
      // A client with the next call always at hand would keep its connection, and this process, for ever.
      if (closing) response.shouldKeepAlive = false;
      listener(request, response);
    },
  );
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => refuse(error, socket as Socket));
  await listen(server, address);
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      closing = true;
      return close(server);
    },
  };
}

function listen(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const reason = cause.code === 'EADDRINUSE' ? 'another process listens there' : cause.message;
      const remedy = 'set STOKE_LISTEN to another address';
      const error = new Error(`cannot listen on ${host}:${port}: ${reason}; ${remedy}`, { cause });
      // The code tells the supervisor that another attempt is in vain.
      reject(Object.assign(error, { code: cause.code }));
    });
    server.listen({ host, port, backlog: 4096 }, resolve);
  });
}

const statusLines: Record<string, string> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

/** What is not HTTP gets an answer all the same, if there is still someone to read it. */
function refuse(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable || socket.bytesWritten > 0) {
    socket.destroy();
    return;
  }
  const body = renderError(new StokeError('invalid_request', 'the request is not valid HTTP').toBody());
  socket.end(
    `HTTP/1.1 ${statusLines[error.code ?? ''] ?? '400 Bad Request'}\r\nConnection: close\r\n` +
      `Content-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), finishWithinMs);
    // A connection is idle only once its answer is out, and its client may keep it open.
    const idle = setInterval(() => server.closeIdleConnections(), closeIdleEveryMs);
    server.close(() => {
      clearTimeout(timer);
      clearInterval(idle);
      resolve();
    });
  });
}
