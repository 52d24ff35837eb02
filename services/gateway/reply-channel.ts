/** The reply channel's listening end: workers connect to a unix socket, say who they are, and send answers. */
import { chmodSync, chownSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { decodeJson, type Frame, FrameError, frameTypes } from '../contracts/frames.ts';
import { type GatewayHello, type WorkerHello, workerHelloSchema } from '../contracts/invocation.ts';
import { FrameConnection } from '../platform/frame-connection.ts';
import type { Log } from '../platform/log.ts';
import type { User } from '../platform/user.ts';
import type { NodeQueue } from './producer.ts';
import { WorkerLink } from './worker-link.ts';
import { pingEveryMs, type Workers } from './workers.ts';

const helloWithinMs = 3000;

export interface ReplyChannelOptions {
  socketPath: string;
  /** Whom the workers run as. Undefined: whoever runs this. */
  user: User | undefined;
  session: string;
  workers: Workers;
  openQueue(hello: WorkerHello): NodeQueue;
  log: Log;
}

export interface ReplyChannel {
  close(): Promise<void>;
}

export async function openReplyChannel(options: ReplyChannelOptions): Promise<ReplyChannel> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    accept(socket, options);
  });
  // Left by a gateway that was killed: only one runs on a socket path, the supervisor sees to that.
  rmSync(options.socketPath, { force: true });
  await listen(server, options.socketPath);
  if (options.user) chownSync(options.socketPath, -1 >>> 0, options.user.gid);
  chmodSync(options.socketPath, 0o660);
  const timer = setInterval(() => options.workers.tick(performance.now()), pingEveryMs);
  return {
    close: () =>
      new Promise((resolve) => {
        clearInterval(timer);
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function accept(socket: Socket, options: ReplyChannelOptions): void {
  let link: WorkerLink | undefined;
  const connection = new FrameConnection(socket, {
    onFrame: (frame) => {
      if (link) return link.receive(frame);
      link = greet(connection, frame, options);
      clearTimeout(timer);
    },
    onClose: (reason) => {
      clearTimeout(timer);
      if (link) farewell(link, reason ?? new Error('the worker closed the connection'), options);
    },
  });
  const timer = setTimeout(() => connection.close(new Error('no hello')), helloWithinMs);
}

function greet(connection: FrameConnection, frame: Frame, options: ReplyChannelOptions): WorkerLink {
  if (frame.type !== frameTypes.hello) throw new FrameError('the first frame is not a hello');
  const hello = workerHelloSchema.safeParse(decodeJson(frame.payload));
  if (!hello.success) throw new FrameError(`hello of another shape: ${hello.error.message}`);
  const answer: GatewayHello = { protocol: 1, session: options.session };
  connection.send(frameTypes.hello, 0, JSON.stringify(answer));
  const link = new WorkerLink(connection, hello.data, options.openQueue(hello.data));
  options.log.info({ node: hello.data.node, incarnation: hello.data.incarnation }, 'worker connected');
  options.workers.add(link);
  return link;
}

function farewell(link: WorkerLink, reason: Error, options: ReplyChannelOptions): void {
  options.log.warn({ node: link.hello.node, reason: reason.message }, 'worker disconnected');
  // First out of the list: what had not started is placed again, and not with this one.
  options.workers.remove(link);
  link.lost(reason);
  link.closeQueue().catch((error: unknown) => options.log.debug({ err: error }, 'closing a queue failed'));
}
