/**
 * Stands in for a container in the worker's tests: a plain process that connects to the instances socket and speaks the
 * instance's side of the protocol. What it does with a request, its path says.
 */
import { connect, type Socket } from 'node:net';
import { logStreams } from '../../../services/contracts/agent.ts';
import type { ContainerRequest } from '../../../services/contracts/daemon-api.ts';
import {
  decodeHeadAndBody,
  decodeWindow,
  encodeFrame,
  encodeHeadAndBody,
  encodeWindow,
  FrameReader,
  type FrameType,
  frameTypes,
} from '../../../services/contracts/frames.ts';
import type { InstanceRequest } from '../../../services/contracts/invocation.ts';

const request = JSON.parse(process.argv[2] as string) as ContainerRequest;
const { env } = request;
const open = new Map<number, { path: string; received: Buffer[]; credit: number }>();

function channel(name: 'control' | 'stdout' | 'stderr'): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect(request.connect.socket, () => {
      const token = env.WRONG_TOKEN ? 'f'.repeat(64) : request.connect.token;
      socket.write(encodeFrame(frameTypes.hello, 0, JSON.stringify({ token, channel: name })));
      resolve(socket);
    });
    // The worker may close it in the middle of anything; then this process is over.
    socket.on('error', () => process.exit(0));
    socket.on('close', () => process.exit(0));
  });
}

const [control, stdout, stderr] = await Promise.all([channel('control'), channel('stdout'), channel('stderr')]);
const send = (type: FrameType, stream: number, payload: Uint8Array | string = '') =>
  control.write(encodeFrame(type, stream, payload));
const reader = new FrameReader();
control.on('data', (chunk) => reader.push(chunk, ({ type, stream, payload }) => receive(type, stream, payload)));

if (env.SAY_AT_START) stderr.write(`${env.SAY_AT_START}\n`);
if (env.FAIL_WITH) send(frameTypes.failed, 0, JSON.stringify({ code: 'function_unloadable', message: env.FAIL_WITH }));
else if (env.EXIT_AT_START) stderr.end(() => process.exit(Number(env.EXIT_AT_START)));
else if (!env.NEVER_READY) send(frameTypes.ready, 0, JSON.stringify({ style: 'fetch', loadMs: 1 }));

function log(stream: number, text: string, name: keyof typeof logStreams = 'stdout') {
  send(frameTypes.log, stream, Buffer.concat([Buffer.from([logStreams[name]]), Buffer.from(text)]));
}

function head(stream: number, body: Uint8Array | string, end = true, fields: Record<string, unknown> = {}) {
  const value = { status: 200, headers: ['x-pid', String(process.pid)], end, handlerMs: 1, ...fields };
  send(frameTypes.head, stream, encodeHeadAndBody(JSON.stringify(value), Buffer.from(body)));
}

function settle(stream: number) {
  open.delete(stream);
  send(frameTypes.settled, stream);
}

function receive(type: FrameType, stream: number, payload: Buffer) {
  const call = open.get(stream);
  if (type === frameTypes.request) {
    const { head, body } = decodeHeadAndBody(payload);
    answer(stream, head as InstanceRequest, Buffer.from(body));
  } else if (type === frameTypes.ping) send(frameTypes.pong, 0);
  else if (type === frameTypes.cancel && call?.path !== '/deaf') settle(stream);
  else if (type === frameTypes.window && call) {
    call.credit += decodeWindow(payload);
    if (call.path === '/pour') pour(stream);
  } else if (type === frameTypes.data && call) {
    call.received.push(Buffer.from(payload));
    send(frameTypes.window, stream, encodeWindow(payload.byteLength));
  } else if (type === frameTypes.end && call) {
    head(stream, Buffer.concat(call.received));
    settle(stream);
  }
}

/** Sends 1 MiB of answer as far as it was granted. */
function pour(stream: number) {
  const call = open.get(stream);
  if (!call) return;
  const size = Math.min(call.credit, 1024 * 1024 - call.received.length * 1024);
  for (let sent = 0; sent + 1024 <= size; sent += 1024) {
    call.received.push(Buffer.alloc(0));
    call.credit -= 1024;
    send(frameTypes.data, stream, Buffer.alloc(1024, 'x'));
  }
  if (call.received.length < 1024) return;
  send(frameTypes.end, stream);
  settle(stream);
}

function answer(stream: number, incoming: InstanceRequest, body: Buffer) {
  const [path, argument] = incoming.path.split('?') as [string, string | undefined];
  open.set(stream, { path, received: [], credit: 256 * 1024 });
  switch (path) {
    case '/echo':
      head(stream, body);
      return settle(stream);
    case '/upload':
      return send(frameTypes.window, stream, encodeWindow(64 * 1024));
    case '/pour':
      head(stream, '', false);
      return pour(stream);
    case '/after':
      return void setTimeout(() => {
        head(stream, 'later');
        settle(stream);
      }, Number(argument));
    case '/log':
      log(stream, `first ${incoming.id}\nsec`);
      log(stream, 'ond without a line feed', 'stdout');
      log(stream, 'to stderr\n', 'stderr');
      head(stream, '');
      return settle(stream);
    case '/flood':
      for (let sent = 0; sent < 600; sent++) log(stream, `${'y'.repeat(1023)}\n`);
      head(stream, '');
      return settle(stream);
    case '/raw':
      // Answered only once the output has been read: the channels are not in step otherwise.
      stdout.write('raw output\n');
      return void setTimeout(() => {
        head(stream, '');
        settle(stream);
      }, 50);
    case '/throw':
      send(
        frameTypes.error,
        stream,
        JSON.stringify({ code: 'handler_error', message: 'boom', details: { name: 'Error', stack: ['at here'] } }),
      );
      return settle(stream);
    case '/worker-lost':
      send(frameTypes.error, stream, JSON.stringify({ code: 'worker_lost', message: 'not mine to say' }));
      return settle(stream);
    case '/exit':
      stderr.end('last words\n', () => process.exit(Number(argument)));
      return;
    case '/deaf':
    case '/wait':
      return;
    case '/hang':
      for (;;);
    case '/answered-but-busy':
      return head(stream, 'done');
    case '/two-heads':
      head(stream, '', false);
      return head(stream, '', false);
    case '/bad-status':
      return head(stream, '', true, { status: 99 });
    case '/over-credit':
      head(stream, '', false);
      for (let sent = 0; sent < 5; sent++) send(frameTypes.data, stream, Buffer.alloc(64 * 1024));
      return;
    case '/unknown-stream':
      return head(stream + 1000, '');
    case '/garbage':
      return void control.write(Buffer.alloc(64, 0xff));
    case '/big-head':
      return head(stream, '', true, { headers: ['x', 'z'.repeat(1024 * 1024)] });
    default:
      head(stream, 'no such behaviour', true, { status: 404 });
      return settle(stream);
  }
}
