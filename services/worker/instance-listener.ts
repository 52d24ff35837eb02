/**
 * The unix socket that instances connect to. A connection says within a short time whose it is, by the token that only its
 * container was given, and which channel it carries. The only writer of the table of expected instances.
 */
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import type { InstanceHello } from '../contracts/agent.ts';
import { decodeJson, FrameError, frameHeaderBytes, frameTypes } from '../contracts/frames.ts';
import type { Log } from '../platform/log.ts';
import type { Instance } from './instance.ts';

const helloBoundMs = 3000;
const maxHelloBytes = 4096;

export class InstanceListener {
  readonly #path: string;
  readonly #log: Log;
  readonly #expected = new Map<string, Instance>();
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;

  constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  async listen(): Promise<void> {
    // Left by a worker that was killed: one worker runs on a node, the supervisor sees to that.
    rmSync(this.#path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#path, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    // The one who connects is the container while it is still root.
    chmodSync(this.#path, 0o600);
  }

  /** From now on connections with this token belong to the instance, until it is gone. */
  expect(token: string, instance: Instance): void {
    this.#expected.set(token, instance);
    void instance.ended.promise.then(() => this.#expected.delete(token));
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    const timer = setTimeout(() => socket.destroy(), helloBoundMs);
    let received: Buffer = Buffer.alloc(0);
    // What breaks before the hello concerns nobody: an instance that does not come is missed by its own timer.
    const onError = () => undefined;
    const onData = (chunk: Buffer) => {
      received = received.byteLength === 0 ? chunk : Buffer.concat([received, chunk]);
      try {
        const hello = readHello(received);
        if (!hello) return;
        clearTimeout(timer);
        socket.off('data', onData).pause();
        if (this.#attach(socket, hello.hello, hello.rest)) {
          socket.off('error', onError);
          socket.resume();
        } else socket.destroy();
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
        this.#log.warn({ err: error }, 'a connection to the instances socket did not say hello');
        socket.destroy();
      }
    };
    socket.on('error', onError);
    socket.on('data', onData);
    socket.on('close', () => {
      clearTimeout(timer);
      this.#sockets.delete(socket);
    });
  }

  #attach(socket: Socket, hello: InstanceHello, rest: Buffer): boolean {
    const instance = this.#expected.get(hello.token);
    if (!instance) return false;
    if (hello.channel === 'control') return instance.attachControl(socket, rest);
    // Also when it is gone: its last words may be read after its end.
    return instance.output.attach(hello.channel, socket, rest);
  }
}

/** @returns undefined while it is not complete @throws FrameError when it is not a hello */
function readHello(bytes: Buffer): { hello: InstanceHello; rest: Buffer } | undefined {
  if (bytes.byteLength < frameHeaderBytes) return undefined;
  const end = 4 + bytes.readUInt32BE(0);
  if (end > maxHelloBytes || end < frameHeaderBytes) throw new FrameError(`hello of ${end} bytes`);
  if (bytes[4] !== frameTypes.hello || bytes.readUInt32BE(5) !== 0) throw new FrameError('the first frame is no hello');
  if (bytes.byteLength < end) return undefined;
  const hello = decodeJson(bytes.subarray(frameHeaderBytes, end)) as Partial<InstanceHello> | null;
  const channel = hello?.channel;
  if (typeof hello?.token !== 'string' || (channel !== 'control' && channel !== 'stdout' && channel !== 'stderr'))
    throw new FrameError('hello of another shape');
  return { hello: { token: hello.token, channel }, rest: bytes.subarray(end) };
}
