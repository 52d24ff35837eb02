/** What a function gets and what its caller gets back, through the whole platform. */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Answer, call, open, timing } from './support/call.ts';
import { Installation } from './support/installation.ts';
import { until } from './support/until.ts';

let stoke: Installation;
const url = (path: string) => `${stoke.url}/fn/${path}`;

beforeAll(async () => {
  stoke = await Installation.start();
  await stoke.deploy('answers');
});
afterAll(() => stoke.stop());

function readSample(path: string): Promise<string> {
  return readFile(new URL(`../cases/functions/${path}`, import.meta.url), 'utf8');
}

/** One quick question, without npm's minutes of retries and without what it remembers of earlier answers. */
function reachesRegistry(): Promise<boolean> {
  const bounds = ['--fetch-retries=0', '--fetch-timeout=10000', `--cache=${stoke.folder}/npm`];
  const args = ['view', 'is-number@7.0.0', 'version', ...bounds];
  return new Promise((resolve) => execFile('npm', args, { cwd: stoke.folder }, (error) => resolve(error === null)));
}

const uuid7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/;

function expectPlatformHeaders({ headers }: Answer, start: RegExp): void {
  expect(headers['x-fn-invocation-id']).toMatch(uuid7);
  expect(headers['x-fn-version']).toMatch(/^\d+$/);
  expect(headers['x-fn-start']).toMatch(start);
  expect(headers['server-timing']).toMatch(
    /^queue;dur=[\d.]+, start;dur=[\d.]+, handler;dur=[\d.]+, total;dur=[\d.]+$/,
  );
}

describe('a function in TypeScript with a fetch handler', () => {
  interface Seen {
    method: string;
    path: string;
    headers: [string, string][];
    body: string;
    folder: string;
    environment: Record<string, string>;
    context: { id: string; function: string; version: number; memoryBytes: number; remainingTimeMs: number };
  }
  beforeAll(() => stoke.deploy('fetch-typescript'));

  test('sees method, path, query, headers and a binary body as the client sent them', async () => {
    const body = Buffer.from(Array.from({ length: 512 }, (_, index) => index % 256));
    const answer = await call(url('fetch-typescript/a%20b/%C3%A9//c/?x=1&x=2&y=%26'), {
      method: 'PATCH',
      headers: { 'X-Custom': 'a value', 'x-repeated': ['one', 'two'], 'content-type': 'application/x-own' },
      body,
    });
    expect(answer.status).toBe(200);
    const seen = answer.json<Seen>();
    expect(seen).toMatchObject({ method: 'PATCH', path: '/a%20b/%C3%A9//c/?x=1&x=2&y=%26' });
    expect(Buffer.from(seen.body, 'base64').equals(body)).toBe(true);
    const headers = new Map(seen.headers);
    expect(headers.get('x-custom')).toBe('a value');
    expect(headers.get('x-repeated')).toBe('one, two');
    expect(headers.get('content-type')).toBe('application/x-own');
    expect(headers.get('host')).toBe(new URL(stoke.url).host);
  });

  test('has its context, its environment and its own files, and nothing of the machine', async () => {
    const answer = await call(url('fetch-typescript'));
    const { context, environment, folder } = answer.json<Seen>();
    expect(context).toMatchObject({ function: 'fetch-typescript', version: 1, memoryBytes: 96 * 1024 * 1024 });
    expect(context.id).toBe(answer.headers['x-fn-invocation-id']);
    expect(context.remainingTimeMs).toBeGreaterThan(15_000);
    expect(context.remainingTimeMs).toBeLessThanOrEqual(20_000);
    expect(folder).toBe('a file of the function\n');
    expect(environment).toMatchObject({ GREETING: 'hé"llo $HOME\nend', FN_NAME: 'fetch-typescript', FN_VERSION: '1' });
    expect(Object.keys(environment).filter((name) => /STOKE|VITEST|REDIS/.test(name))).toEqual([]);
  });

  test.each(['GET', 'DELETE', 'PUT', 'OPTIONS', 'PROPFIND'])('is called with %s', async (method) => {
    expect((await call(url('fetch-typescript'), { method })).json<Seen>().method).toBe(method);
  });
});

describe('other kinds of functions', () => {
  test('a CommonJS handler gets a JSON body as its event, and its result is the answer', async () => {
    await stoke.deploy('handler-commonjs');
    const event = { text: 'ünï', list: [1, null, true] };
    const answer = await call(url('handler-commonjs/path?q=1'), {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(event),
    });
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.json()).toMatchObject({
      event,
      digest: createHash('sha256').update(JSON.stringify(event)).digest('hex'),
      request: { method: 'POST', path: '/path', query: { q: '1' } },
      id: answer.headers['x-fn-invocation-id'],
    });
    expectPlatformHeaders(answer, /^(warm|prewarmed|cold)$/);
  });

  test('a TypeScript handler with another entry name is found and called', async () => {
    expect(await stoke.deploy('handler-typescript')).toMatchObject({ entry: 'handler.ts' });
    const answer = await call(url('handler-typescript'), {
      headers: { 'content-type': 'application/json' },
      body: '{"numbers":[1,2,39]}',
    });
    expect(answer.text).toBe('42');
  });

  test('a module that awaits while it loads serves when it is loaded', async () => {
    await stoke.deploy('handler-module-await');
    expect((await call(url('handler-module-await'))).text).toBe('handler-module-await on handler-module-await');
  });

  test('a CommonJS module with a fetch handler serves', async () => {
    await stoke.deploy('fetch-commonjs');
    expect((await call(url('fetch-commonjs'))).text).toBe('from a CommonJS module');
  });

  test('a Hono app exported as default, with its node_modules in the folder, serves unchanged', async () => {
    const files = { 'index.ts': await readSample('hono-app/index.ts') };
    await stoke.deploy({ config: { name: 'hono-app' }, files, modules: ['hono'] });
    expect((await call(url('hono-app'))).text).toBe('the root');
    expect((await call(url('hono-app/users/7?page=2'))).json()).toEqual({ id: '7', page: '2' });
    const created = await call(url('hono-app/users'), {
      headers: { 'content-type': 'application/json', origin: 'http://other.example' },
      body: '{"name":"ada"}',
    });
    expect(created).toMatchObject({ status: 201, text: '{"name":"ada"}' });
    expect(created.headers['access-control-allow-origin']).toBe('*');
    expect((await call(url('hono-app/nowhere'))).status).toBe(404);
  });

  test('packages of a lockfile are installed at the first deploy and their layer is used again at the next', async ({
    skip,
  }) => {
    skip(!(await reachesRegistry()), 'npm reaches no registry from here');
    const first = await stoke.deploy('with-package');
    expect(first.layers).toHaveLength(2);
    const answer = await call(url('with-package'), { headers: { 'content-type': 'application/json' }, body: '"12"' });
    expect(answer.text).toBe('true');
    const read = (file: string) => readSample(`with-package/${file}`);
    const second = await stoke.deploy({
      config: { name: 'with-package' },
      files: {
        'package.json': await read('package.json'),
        'package-lock.json': await read('package-lock.json'),
        'index.js': `${await read('index.js')}// changed\n`,
      },
    });
    expect(second).toMatchObject({ version: 2, created: true });
    expect(second.layers[0]).toMatchObject({ digest: first.layers[0]?.digest, uploaded: false });
  });
});

describe('an answer', () => {
  test('tells its invocation, version, kind of start and times, which add up', async () => {
    const startedAt = performance.now();
    const answer = await call(url('answers/empty'));
    const elapsed = performance.now() - startedAt;
    expectPlatformHeaders(answer, /^warm$/);
    const { queue = 0, start = 0, handler = 0, total = 0 } = timing(answer);
    expect(queue + start + handler).toBeLessThanOrEqual(total + 1);
    expect(total).toBeLessThan(elapsed);
  });

  test('keeps its status, its headers, and each of several cookies', async () => {
    const answer = await call(url('answers/cookies'));
    expect(answer).toMatchObject({ status: 201, text: 'two cookies' });
    expect(answer.headers['set-cookie']).toEqual(['a=1; Path=/', 'b=2, with a comma']);
    expect(answer.headers['x-own']).toBe('value');
  });

  test('without a body is 204 without a length', async () => {
    const answer = await call(url('answers/empty'));
    expect(answer).toMatchObject({ status: 204, text: '' });
    expect(answer.headers['content-length']).toBeUndefined();
  });

  test.each([
    ['redirect', 302],
    ['teapot', 418],
    ['no-such-path', 404],
  ])('of the function is passed on, also when its status is no success: %s is %i', async (path, status) => {
    const answer = await call(url(`answers/${path}`));
    expect(answer.status).toBe(status);
    expectPlatformHeaders(answer, /^warm$/);
  });

  test('to HEAD has the head and no body', async () => {
    const answer = await call(url('answers/teapot'), { method: 'HEAD' });
    expect(answer).toMatchObject({ status: 418, text: '' });
    expectPlatformHeaders(answer, /^warm$/);
  });

  test('of 32 MiB arrives whole', async () => {
    const bytes = 32 * 1024 * 1024;
    const answer = await call(url(`answers/large?bytes=${bytes}`));
    expect(answer.bytes.equals(Buffer.alloc(bytes, 'stoke '))).toBe(true);
  });

  test('that is streamed arrives piece by piece, before its end is there', async () => {
    const answer = await open(url('answers/stream?key=a'));
    const pieces = answer.setEncoding('utf8')[Symbol.asyncIterator]() as AsyncIterator<string>;
    expect((await pieces.next()).value).toBe('piece 0\n');
    await call(url('answers/next?key=a'));
    expect((await pieces.next()).value).toBe('piece 1\n');
    await call(url('answers/next?key=a'));
    expect((await pieces.next()).value).toBe('piece 2\n');
    expect((await pieces.next()).done).toBe(true);
  });

  test('that breaks in its middle is seen as broken by the client, and the reason is in the log', async () => {
    const answer = await open(url('answers/break'));
    await expect(text(answer)).rejects.toThrow(/aborted/);
    const id = String(answer.headers['x-fn-invocation-id']);
    const logs = await until(
      'the log has the reason',
      () => stoke.logs('answers', '--invocation', id),
      (entries) => entries.length > 0,
    );
    expect(logs.map((entry) => entry.text).join('')).toContain('the rest is lost');
  });
});

describe('a request body', () => {
  const digestOf = (body: Buffer) => createHash('sha256').update(body).digest('hex');
  interface Digest {
    bytes: number;
    chunks: number;
    sha256: string;
  }

  test.each([
    ['1 byte', 1],
    ['64 KiB, the most that travels in the job', 64 * 1024],
    ['64 KiB and 1 byte', 64 * 1024 + 1],
    ['1 MiB', 1024 * 1024],
    ['6 MiB', 6 * 1024 * 1024],
  ])('of %s arrives whole, with a length and in chunks', async (_, bytes) => {
    const body = randomBytes(bytes);
    for (const given of [body, Readable.from([body.subarray(0, bytes / 3), body.subarray(bytes / 3)])]) {
      const answer = await call(url('answers/digest'), { body: given });
      expect(answer.json<Digest>()).toMatchObject({ bytes, sha256: digestOf(body) });
    }
  });

  test('of more than 6 MiB is 413, with a length at once and in chunks when it is too much', async () => {
    const body = Buffer.alloc(6 * 1024 * 1024 + 1);
    for (const given of [body, Readable.from([body.subarray(0, 1000), body.subarray(1000)])]) {
      const answer = await call(url('answers/digest'), { body: given });
      expect(answer.status).toBe(413);
      expect(answer.error()).toMatchObject({ code: 'body_too_large', details: { limitBytes: 6 * 1024 * 1024 } });
      expect(answer.headers['x-fn-invocation-id']).toMatch(uuid7);
      expect(answer.headers['server-timing']).toMatch(/total;dur=/);
    }
    expect((await call(url('answers/digest'), { body: 'after it' })).status).toBe(200);
  });

  test('with “expect: 100-continue” is asked for and arrives', async () => {
    const outgoing = request(url('answers/digest'), { method: 'POST', headers: { expect: '100-continue' } });
    outgoing.flushHeaders();
    await new Promise((resolve) => outgoing.once('continue', resolve));
    outgoing.end('the body');
    const answer = await new Promise<Readable>((resolve) => outgoing.once('response', resolve));
    expect(JSON.parse(await text(answer))).toMatchObject({ bytes: 8 });
  });

  test('that is streamed reaches the function while it is still being sent, both ways at once', async () => {
    const body = new Readable({ read: () => undefined });
    const answer = await new Promise<Readable>((resolve, reject) => {
      const outgoing = request(url('answers/echo'), { method: 'POST' });
      outgoing.once('response', resolve).once('error', reject);
      body.pipe(outgoing);
      body.push('first');
    });
    const pieces = answer.setEncoding('utf8')[Symbol.asyncIterator]() as AsyncIterator<string>;
    expect((await pieces.next()).value).toBe('first');
    body.push('second');
    expect((await pieces.next()).value).toBe('second');
    body.push(null);
    expect((await pieces.next()).done).toBe(true);
  });
});

test('a function lives in a container of its own: its own processes and files, no network, nothing of the host', async () => {
  await stoke.deploy('inside');
  const { hostname, port } = new URL(stoke.url);
  const answer = await call(url('inside'), {
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      addresses: [
        [hostname, Number(port)],
        ['192.0.2.1', 80],
      ],
    }),
  });
  expect(answer.json()).toEqual({
    program: ['/usr/local/bin/node', '/usr/local/bin/node', '/var/task/index.mjs'],
    pid: 1,
    folder: '/var/task',
    hostname: 'inside',
    processes: ['1'],
    ownNode: '42',
    thread: 'from a thread',
    interfaces: ['lo'],
    connections: ['ECONNREFUSED', 'ENETUNREACH'],
    writes: ['/dev/null', '/dev/shm/x', '/tmp/x'],
    reads: [],
  });
});

describe('beyond the answer', () => {
  test('what is given to waitUntil is finished after the answer, and its output belongs to the invocation', async () => {
    const answer = await call(url('answers/late'));
    expect(timing(answer).total).toBeLessThan(100);
    const before = Number(answer.text);
    await until(
      'the work after the answer is finished',
      async () => Number((await call(url('answers/finished'))).text),
      (finished) => finished === before + 1,
    );
    const logs = await stoke.logs('answers', '--invocation', String(answer.headers['x-fn-invocation-id']));
    expect(logs.map((entry) => entry.text.trim())).toEqual(['finished after the answer']);
  });

  test('stdout and stderr of each invocation are found by its id', async () => {
    const answers = await Promise.all([call(url('answers/print')), call(url('answers/print'))]);
    for (const { headers } of answers) {
      const id = String(headers['x-fn-invocation-id']);
      const logs = await stoke.logs('answers', '--invocation', id);
      expect(logs.map(({ invocation, stream, text: line }) => [invocation, stream, line.trim()]).sort()).toEqual([
        [id, 'stderr', 'to stderr'],
        [id, 'stdout', 'to stdout'],
      ]);
    }
  });

  test('a hundred calls at a time are answered, each its own', async () => {
    const bodies = Array.from({ length: 100 }, (_, index) => `call ${index} `.repeat(index));
    const answers = await Promise.all(bodies.map((body) => call(url('answers/echo'), { body })));
    expect(answers.map((answer) => answer.text)).toEqual(bodies);
    expect(new Set(answers.map((answer) => answer.headers['x-fn-invocation-id'])).size).toBe(100);
  });
});
