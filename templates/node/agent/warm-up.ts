/**
 * Runs the agent in the zygote before the first fork, so that every container shares what is loaded and compiled here
 * and pays for it nothing. Leaves nothing open: no handle, no timer; the thread pool is never started, and no source of
 * randomness is drawn from that the children would share.
 */

import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import type { AgentSettings } from '../../../services/contracts/agent.ts';
import { encodeFrame, encodeHeadAndBody, FrameReader, frameTypes } from '../../../services/contracts/frames.ts';
import type { InstanceRequest } from '../../../services/contracts/invocation.ts';
import { Agent } from './agent.ts';
import { findHandler, type Handler } from './find-handler.ts';
import { loadStrippedSources } from './stripped-sources.ts';
import { sampleEntries, samples } from './warm-up-samples.ts';

/** Enough for V8 to have bytecode and feedback of everything that a call runs through. */
const rounds = 30;

const settings: AgentSettings = {
  function: 'warm-up',
  version: 1,
  entry: '',
  stripped: true,
  memoryBytes: 0,
  concurrency: 1,
  timeoutMs: 1000,
};

/** Once, in the zygote, before `serve` in its children. */
export async function warmUp(): Promise<void> {
  loadBuiltins();
  touchWebApis();
  const folder = mkdtempSync(join(tmpdir(), 'warm-up-'));
  // The samples print, and the zygote's own output is not for that.
  const realConsole = globalThis.console;
  globalThis.console = new console.Console(new Writable({ write: (_chunk, _encoding, done) => done() }));
  try {
    const handlers = loadSamples(folder);
    for (let round = 0; round < rounds; round++) for (const handler of handlers) await call(handler);
    await echo(join(folder, 'socket'));
  } finally {
    globalThis.console = realConsole;
    rmSync(folder, { recursive: true });
  }
}

/** Built-in modules that functions often require: each costs 0.1 to 3 ms when it is first loaded. */
function loadBuiltins(): void {
  const require = createRequire(import.meta.url);
  const names = ['assert', 'buffer', 'child_process', 'crypto', 'dns', 'events', 'fs', 'fs/promises', 'http', 'https'];
  names.push('net', 'os', 'path', 'querystring', 'stream', 'stream/promises', 'stream/web', 'string_decoder', 'tls');
  names.push('timers', 'timers/promises', 'url', 'util', 'v8', 'vm', 'worker_threads', 'zlib');
  for (const name of names) require(`node:${name}`);
}

/** Globals that Node loads when they are first used. */
function touchWebApis(): void {
  const classes: unknown[] = [Request, Response, Headers, FormData, Blob, File, WebSocket, CompressionStream];
  classes.push(TextDecoderStream, TransformStream, WritableStream, BroadcastChannel, MessageChannel, DOMException);
  if (classes.some((one) => typeof one !== 'function')) throw new Error('this Node lacks a web API');
  const controller = new AbortController();
  AbortSignal.any([controller.signal]);
  controller.abort();
  structuredClone({ at: new Date(0), bytes: new Uint8Array(1) });
  new TextDecoder().decode(new TextEncoder().encode('ä'));
  new URL('http://localhost/?a=1').searchParams.get('a');
  void crypto.subtle;
  new FormData().set('a', new Blob(['b']));
}

function loadSamples(folder: string): Handler[] {
  for (const [name, text] of Object.entries(samples)) writeFileSync(join(folder, name), text);
  const require = createRequire(`${folder}/`);
  const hooks = loadStrippedSources(folder);
  try {
    return sampleEntries.map((name) => {
      const found = findHandler(require(`./${name}`));
      if ('found' in found) throw new Error(`sample ${name} has no handler: ${found.found}`);
      return found;
    });
  } finally {
    hooks.deregister();
  }
}

/** One whole invocation through the agent, over a connection that only exists in memory. */
function call(handler: Handler): Promise<void> {
  const request: InstanceRequest = {
    id: '0',
    method: 'POST',
    path: '/a?b=c',
    headers: ['host', 'localhost', 'content-type', 'application/json'],
    deadlineMs: Date.now() + 1000,
    streamed: false,
  };
  const payload = encodeHeadAndBody(JSON.stringify(request), Buffer.from('{"name":"x"}'));
  return new Promise((resolve, reject) => {
    const send = (type: number) => {
      if (type === frameTypes.settled) resolve();
      if (type === frameTypes.error) reject(new Error('a warm-up invocation failed'));
    };
    const agent = new Agent(settings, '/var/task', { queuedBytes: 0, send });
    agent.use(handler, 0);
    agent.output.write('stdout', 'warm\n');
    new FrameReader().push(encodeFrame(frameTypes.request, 1, payload), (frame) => agent.onFrame(frame));
  });
}

/** A socket's whole life, with the fixed receive buffer of the control connection. Returns when all of it is closed. */
async function echo(path: string): Promise<void> {
  const server = createServer((peer) => peer.pipe(peer)).listen(path);
  const accepted = once(server, 'connection');
  await once(server, 'listening');
  const echoed = Promise.withResolvers<void>();
  const callback = () => {
    echoed.resolve();
    return true;
  };
  const client = connect({ path, onread: { buffer: Buffer.alloc(16), callback } }).on('error', echoed.reject);
  client.write('x');
  await echoed.promise;
  const [peer] = (await accepted) as [Socket];
  const closed = [client, peer, server].map((one) => once(one, 'close'));
  client.destroy();
  server.close();
  await Promise.all(closed);
}
