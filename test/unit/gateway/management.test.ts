import { createHash } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { functionKeys } from '../../../services/contracts/function.ts';
import type { LogEntry, WorkerQuery } from '../../../services/contracts/invocation.ts';
import type { Deployed, FunctionDetail, PlatformStatus } from '../../../services/contracts/management-api.ts';
import type { FakeWorker } from './fake-worker.ts';
import { type Platform, someDigest, startPlatform } from './platform.ts';

let platform: Platform;
let worker: FakeWorker;
let answer: (query: WorkerQuery) => unknown;

beforeAll(async () => {
  platform = await startPlatform();
  worker = await platform.worker(
    (call) => {
      call.started();
      call.head({}, `version ${call.item.version}`);
    },
    { answer: (query) => answer(query) },
  );
});
beforeEach(() => {
  answer = (query) => (query.op === 'verify' ? { startMs: 7.5 } : undefined);
  worker.queries.length = 0;
});
afterAll(() => platform.close());

const api = (path: string, init?: RequestInit) => fetch(`${platform.url}/api/v1${path}`, init);

async function errorOf(response: Response) {
  return ((await response.json()) as { error: { code: string; message: string; details?: Record<string, unknown> } })
    .error;
}

async function upload(text: string): Promise<string> {
  const digest = `sha256:${createHash('sha256').update(text).digest('hex')}`;
  const response = await api(`/layers/${digest}`, { method: 'PUT', body: text });
  expect(response.ok).toBe(true);
  return digest;
}

function post(body: unknown, headers: Record<string, string> = {}) {
  return api('/functions', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

async function deployText(name: string, text: string, config: Record<string, unknown> = {}): Promise<Response> {
  const layers = [await upload(text)];
  return post({ config: { name, ...config }, layers, entry: 'index.ts', stripped: true });
}

const show = async (name: string) => (await (await api(`/functions/${name}`)).json()) as FunctionDetail;

describe('layers', () => {
  it('are passed through to the daemon, and are there afterwards', async () => {
    const digest = await upload('a layer');
    expect((await api(`/layers/${digest}`, { method: 'HEAD' })).status).toBe(200);
    expect((await api(`/layers/${digest}`, { method: 'PUT', body: 'a layer' })).status).toBe(200);
    expect((await api(`/layers/${someDigest}`, { method: 'HEAD' })).status).toBe(404);
  });

  it('are refused when they have another digest, an impossible one, no length or too many bytes', async () => {
    const other = await api(`/layers/${someDigest}`, { method: 'PUT', body: 'x' });
    expect(other.status).toBe(400);
    expect((await errorOf(other)).code).toBe('digest_mismatch');
    expect((await errorOf(await api('/layers/latest', { method: 'PUT', body: 'x' }))).code).toBe('invalid_request');
    const chunked = await api(`/layers/${someDigest}`, {
      method: 'PUT',
      body: new Blob(['x']).stream(),
      duplex: 'half',
    } as RequestInit);
    expect(await errorOf(chunked)).toMatchObject({ code: 'invalid_request' });
    const { request } = await import('node:http');
    const status = await new Promise((resolve, reject) => {
      const headers = { 'content-length': 250 * 2 ** 20 + 1 };
      const path = `/api/v1/layers/${someDigest}`;
      const outgoing = request({ host: '127.0.0.1', port: platform.port, method: 'PUT', path, headers });
      outgoing.on('response', (response) => {
        resolve(response.statusCode);
        outgoing.destroy();
      });
      outgoing.on('error', reject);
      outgoing.flushHeaders();
    });
    expect(status).toBe(413);
  });
});

describe('a deploy', () => {
  it('makes a version that is verified before calls go to it, and retires the older ones', async () => {
    const first = await deployText('steps', 'one');
    expect(first.status).toBe(201);
    expect(await first.json()).toMatchObject({
      function: 'steps',
      version: 1,
      created: true,
      path: '/fn/steps',
      verifyMs: 7.5,
    } satisfies Partial<Deployed>);
    expect(platform.daemon.networks).toContain('steps');
    expect(await (await fetch(`${platform.url}/fn/steps`)).text()).toBe('version 1');
    answer = (query) => {
      if (query.op !== 'verify') return undefined;
      expect(query).toMatchObject({ function: 'steps', version: 2, keep: true });
      return { startMs: 3 };
    };
    worker.queries.length = 0;
    const second = (await (await deployText('steps', 'two')).json()) as Deployed;
    expect(second.version).toBe(2);
    await vi.waitFor(() => expect(worker.queries.map((query) => query.op)).toEqual(['verify', 'retire']));
    expect(worker.queries[1]).toEqual({ op: 'retire', function: 'steps', below: 2, removed: false });
    expect(await (await fetch(`${platform.url}/fn/steps`)).text()).toBe('version 2');
    expect(await show('steps')).toMatchObject({
      current: 2,
      digest: second.digest,
      versions: [{ version: 1 }, { version: 2 }],
    });
  });

  it('of the same content is the same version, and says so', async () => {
    await deployText('same', 'content');
    const again = await deployText('same', 'content');
    expect(again.status).toBe(200);
    expect(await again.json()).toMatchObject({ version: 1, created: false, verifyMs: null });
    const settings = await deployText('same', 'content', { memory: '256Mi' });
    expect(await settings.json()).toMatchObject({ version: 2, created: true });
  });

  it('that does not load is 422 with the reason, and changes nothing', async () => {
    await deployText('fragile', 'good');
    const images = [...platform.daemon.images.keys()];
    answer = (query) => {
      if (query.op === 'verify') throw { code: 'start_failed', message: 'index.ts:3: Unexpected token' };
      return undefined;
    };
    const refused = await deployText('fragile', 'broken');
    expect(refused.status).toBe(422);
    expect(await errorOf(refused)).toMatchObject({
      code: 'function_unloadable',
      message: 'index.ts:3: Unexpected token',
    });
    expect((await show('fragile')).current).toBe(1);
    expect([...platform.daemon.images.keys()]).toEqual(images);
    expect(await platform.redis.keys(functionKeys.version('fragile', 2))).toEqual([]);
    expect((await deployText('young', 'broken')).status).toBe(422);
    expect((await api('/functions/young')).status).toBe(404);
  });

  it('without verification asks no worker to start anything', async () => {
    const layers = [await upload('unverified')];
    const response = await post({ config: { name: 'quick' }, layers, entry: 'a.js', stripped: false, verify: false });
    expect(await response.json()).toMatchObject({ created: true, verifyMs: null });
    await vi.waitFor(() => expect(worker.queries.map((query) => query.op)).toEqual(['retire']));
  });

  it('beside another of the same function: both succeed, with different numbers', async () => {
    const answers = await Promise.all(['a', 'b', 'c', 'd'].map((text) => deployText('race', text)));
    const versions = await Promise.all(answers.map(async (response) => ((await response.json()) as Deployed).version));
    expect(versions.sort()).toEqual([1, 2, 3, 4]);
    const detail = await show('race');
    expect(detail.current).toBe(4);
    expect(detail.versions.map(({ version }) => version)).toEqual([1, 2, 3, 4]);
  });

  it('keeps the last ten versions and removes the images of older ones', async () => {
    for (let index = 1; index <= 11; index++) expect((await deployText('long', `text ${index}`)).status).toBe(201);
    const { versions } = await show('long');
    expect(versions.map(({ version }) => version)).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    const images = () =>
      [...platform.daemon.images.values()].filter((image) => image.labels['stoke.function'] === 'long');
    await vi.waitFor(() => expect(images()).toHaveLength(10));
    expect(await platform.redis.exists(functionKeys.version('long', 1))).toBe(0);
  });

  it.each([
    ['a field that does not exist', { config: { name: 'x', memroy: '1Gi' } }, 'invalid_config', /memroy/],
    ['a name that cannot be', { config: { name: 'Not_A_Name' } }, 'invalid_config', /name: expected 1 to 63/],
    ['no name', { config: {} }, 'invalid_config', /name/],
    ['too little memory', { config: { name: 'x', memory: '16Mi' } }, 'invalid_config', /32Mi or more/],
    [
      'more memory than there is',
      { config: { name: 'x', memory: '100000Gi' } },
      'invalid_config',
      /more than the machine has/,
    ],
    ['a layer that was not uploaded', { layers: [someDigest] }, 'layer_missing', /has not been uploaded/],
    ['an entry outside the folder', { entry: '../x.ts' }, 'invalid_config', /inside the folder/],
  ])('with %s is refused', async (_what, change, code, message) => {
    const layers = [await upload('layer')];
    const response = await post({ config: { name: 'x' }, layers, entry: 'index.ts', stripped: true, ...change });
    const error = await errorOf(response);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect((await api('/functions/x')).status).toBe(404);
  });

  it('is refused when it is not JSON, not said to be, or too long', async () => {
    expect(await errorOf(await post('{'))).toMatchObject({ code: 'invalid_request' });
    expect((await errorOf(await post('{}', { 'content-type': 'text/plain' }))).message).toMatch(/text\/plain/);
    const long = await post(JSON.stringify('x'.repeat(2 ** 20)));
    expect(long.status).toBe(413);
  });

  it('needs a worker to verify with', async () => {
    const alone = await startPlatform();
    try {
      const digest = `sha256:${createHash('sha256').update('x').digest('hex')}`;
      alone.daemon.layers.set(digest, 1);
      const body = JSON.stringify({ config: { name: 'x' }, layers: [digest], entry: 'a.js', stripped: true });
      const headers = { 'content-type': 'application/json' };
      const response = await fetch(`${alone.url}/api/v1/functions`, { method: 'POST', headers, body });
      expect(response.status).toBe(503);
      expect((await errorOf(response)).code).toBe('no_capacity');
      expect(alone.daemon.images.size).toBe(0);
      expect((await fetch(`${alone.url}/readyz`)).status).toBe(503);
    } finally {
      await alone.close();
    }
  });
});

describe('what a deploy left that was cut off', () => {
  it('is removed at the next start, and nothing else', async () => {
    await deployText('kept', 'kept');
    const kept = await platform.store.get('kept');
    const { version: _, ...abandoned } = { ...(kept as NonNullable<typeof kept>).version, createdAtMs: 1 };
    const orphan = await platform.store.createVersion(abandoned);
    const old = { layers: [someDigest], createdAtMs: 1 };
    platform.daemon.images.set(`sha256:${'1'.repeat(64)}`, { ...old, labels: { 'stoke.function': 'kept' } });
    platform.daemon.images.set(`sha256:${'2'.repeat(64)}`, { ...old, labels: {} });
    await platform.restartGateway();
    await vi.waitFor(() => expect(platform.daemon.images.has(`sha256:${'1'.repeat(64)}`)).toBe(false));
    expect(platform.daemon.images.has(`sha256:${'2'.repeat(64)}`)).toBe(true);
    expect(await platform.redis.exists(functionKeys.version('kept', orphan.version))).toBe(0);
    expect((await platform.store.get('kept'))?.version.version).toBe(1);
    worker = await platform.worker(
      (call) => {
        call.started();
        call.head({}, `version ${call.item.version}`);
      },
      { answer: (query) => answer(query) },
    );
  });
});

describe('functions', () => {
  it('are listed by name, with the version that is current', async () => {
    await deployText('listed', 'one');
    const { functions } = (await (await api('/functions')).json()) as { functions: { name: string }[] };
    expect(functions).toContainEqual(
      expect.objectContaining({ name: 'listed', version: 1, runtime: 'node24', memory: '128Mi', path: '/fn/listed' }),
    );
    expect(functions.map(({ name }) => name)).toEqual(functions.map(({ name }) => name).sort());
  });

  it('that are removed are gone for calls, with their images, network and instances', async () => {
    await deployText('brief', 'one');
    expect((await fetch(`${platform.url}/fn/brief`)).status).toBe(200);
    expect((await api('/functions/brief', { method: 'DELETE' })).status).toBe(204);
    expect((await fetch(`${platform.url}/fn/brief`)).status).toBe(404);
    expect(worker.queries).toContainEqual({ op: 'retire', function: 'brief', removed: true });
    expect(platform.daemon.networks).not.toContain('brief');
    expect([...platform.daemon.images.values()].some((image) => image.labels['stoke.function'] === 'brief')).toBe(
      false,
    );
    expect((await api('/functions/brief', { method: 'DELETE' })).status).toBe(404);
  });

  it('that are deployed again after a removal get a number that was never used', async () => {
    await deployText('phoenix', 'one');
    await api('/functions/phoenix', { method: 'DELETE' });
    expect(await (await deployText('phoenix', 'two')).json()).toMatchObject({ version: 2 });
  });
});

describe('logs', () => {
  const entry: LogEntry = { t: 1, invocation: 'i', version: 1, instance: 'c', stream: 'stdout', text: 'hello' };

  it('come from the worker as lines of JSON', async () => {
    await deployText('chatty', 'one');
    answer = (query) => (query.op === 'logs' ? `${JSON.stringify(entry)}\n` : undefined);
    const response = await api('/functions/chatty/logs?tail=5&invocation=i');
    expect(response.headers.get('content-type')).toBe('application/x-ndjson');
    expect(JSON.parse(await response.text())).toEqual(entry);
    expect(worker.queries.at(-1)).toEqual({ op: 'logs', function: 'chatty', tail: 5, invocation: 'i', follow: false });
  });

  it('are followed until the client hangs up', async () => {
    await deployText('talker', 'one');
    answer = (query) => (query.op === 'logs' ? `${JSON.stringify(entry)}\n…` : { startMs: 1 });
    const abort = new AbortController();
    const response = await api('/functions/talker/logs?follow=true', { signal: abort.signal });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    expect(JSON.parse(Buffer.from((await reader.read()).value as Uint8Array).toString())).toEqual(entry);
    const before = worker.cancelledStreams.size;
    abort.abort();
    await vi.waitFor(() => expect(worker.cancelledStreams.size).toBe(before + 1));
  });

  it('of a function that is not there are 404, and a wrong parameter is named', async () => {
    expect((await api('/functions/nobody/logs')).status).toBe(404);
    await deployText('asked', 'one');
    expect((await errorOf(await api('/functions/asked/logs?tail=x'))).message).toMatch(/tail: expected a number/);
  });
});

describe('the rest of the API', () => {
  it('tells the true state of the platform', async () => {
    const status = (await (await api('/status')).json()) as PlatformStatus;
    expect(status).toMatchObject({ redis: { durable: true, volatile: true }, ready: true });
    expect(status.workers).toHaveLength(1);
    expect((await fetch(`${platform.url}/readyz`)).status).toBe(200);
    expect((await fetch(`${platform.url}/healthz`)).status).toBe(200);
  });

  it('publishes the schema of fn.json, in which only the name is required', async () => {
    const schema = (await (await fetch(`${platform.url}/schemas/fn.json`)).json()) as Record<string, unknown>;
    expect(schema).toMatchObject({ type: 'object', required: ['name'], additionalProperties: false });
    expect(Object.keys(schema.properties as object)).toContain('exposeErrors');
  });

  it('is not for pages of other sites', async () => {
    const foreign = await api('/functions', { headers: { origin: 'http://evil.example' } });
    expect(foreign.status).toBe(403);
    expect((await errorOf(foreign)).code).toBe('forbidden');
    expect((await api('/functions', { headers: { origin: platform.url } })).status).toBe(200);
  });

  it('answers unknown paths and wrong methods as such', async () => {
    expect((await errorOf(await api('/nothing'))).code).toBe('not_found');
    const wrong = await api('/functions', { method: 'PATCH' });
    expect(wrong.status).toBe(405);
    expect(wrong.headers.get('allow')).toBe('GET, POST');
  });
});
