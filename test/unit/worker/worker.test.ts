/** The worker as gateway, queue and daemon see it: calls, pools, deadlines, ends. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeWindow, frameTypes } from '../../../services/contracts/frames.ts';
import { eventually, type Harness, startHarness } from './harness.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
  await harness.deploy('plain');
});
afterAll(async () => {
  await harness.close();
});

test('a first call starts an instance and the next one takes the same, warm', async () => {
  const { gateway, daemon } = harness;
  const first = await (await gateway.call({ body: 'hello' })).done;
  expect(first).toMatchObject({ text: 'hello', error: undefined, head: { status: 200 } });
  expect(first.started).toMatchObject([{ start: 'cold', node: 'test' }]);
  const second = await (await gateway.call({ body: 'again' })).done;
  expect(second.started).toMatchObject([{ start: 'warm' }]);
  expect(second.started[0]?.waitMs).toBeLessThan(50);
  expect(second.pid).toBe(first.pid);
  expect(daemon.requests.filter((request) => request.network === 'plain')).toHaveLength(1);
});

test('the container is asked for with the settings of the version', async () => {
  const { gateway, daemon } = harness;
  await harness.deploy('settings', { memory: '48Mi', cpu: 0.5, tmp: '1Mi', timeout: 7, env: { COLOUR: 'red' } }, 3);
  await (await gateway.call({ function: 'settings', version: 3 })).done;
  expect(daemon.requests.find((request) => request.network === 'settings')).toMatchObject({
    owner: 'worker-test',
    runtime: 'node24',
    env: { COLOUR: 'red', FN_NAME: 'settings', FN_VERSION: '3' },
    limits: { memoryBytes: 48 * 1024 * 1024, cpu: 0.5, pids: 64, tmpBytes: 1024 * 1024, openFiles: 1024 },
    agent: { function: 'settings', version: 3, entry: 'index.js', stripped: true, concurrency: 1, timeoutMs: 7000 },
  });
});

test('a streamed request body goes through as far as the instance grants', async () => {
  const { gateway } = harness;
  const reply = await gateway.call({ path: '/upload', body: null });
  await reply.until(({ windowBytes }) => windowBytes >= 64 * 1024);
  gateway.send(frameTypes.data, reply.stream, Buffer.alloc(40_000, 'a'));
  await reply.until(({ windowBytes }) => windowBytes >= 64 * 1024 + 40_000);
  gateway.send(frameTypes.data, reply.stream, Buffer.alloc(10_000, 'b'));
  gateway.send(frameTypes.end, reply.stream);
  const { text } = await reply.done;
  expect(text).toBe('a'.repeat(40_000) + 'b'.repeat(10_000));
});

test('a streamed answer stops at its credit and goes on when more is granted', async () => {
  const { gateway } = harness;
  const reply = await gateway.call({ path: '/pour' });
  await reply.until(({ text }) => text.length === 256 * 1024);
  gateway.send(frameTypes.window, reply.stream, encodeWindow(1024 * 1024));
  expect((await reply.done).text).toHaveLength(1024 * 1024);
});

test('waiting calls share starts and idle instances: whichever is ready first serves the oldest', async () => {
  const { gateway, daemon } = harness;
  await harness.deploy('several', { maxInstances: 2 });
  const items = [1, 2, 3, 4, 5, 6].map(() => gateway.item({ function: 'several', path: '/after?20' }));
  const replies = await Promise.all((await gateway.add(items)).map((reply) => reply.done));
  expect(replies.map(({ text }) => text)).toEqual(Array(6).fill('later'));
  expect(new Set(replies.map(({ pid }) => pid)).size).toBe(2);
  expect(daemon.requests.filter((request) => request.network === 'several')).toHaveLength(2);
});

test('an instance with concurrency runs several at a time before another is started', async () => {
  const { gateway, daemon } = harness;
  await harness.deploy('wide', { concurrency: 4 });
  await (await gateway.call({ function: 'wide' })).done;
  const items = [1, 2, 3, 4].map(() => gateway.item({ function: 'wide', path: '/after?50' }));
  const replies = await Promise.all((await gateway.add(items)).map((reply) => reply.done));
  expect(new Set(replies.map(({ pid }) => pid)).size).toBe(1);
  expect(daemon.requests.filter((request) => request.network === 'wide')).toHaveLength(1);
});

test('an item that came before, belongs to another session or is past its deadline is ignored', async () => {
  const { gateway } = harness;
  const item = gateway.item({ path: '/log' });
  const [reply] = await gateway.add([item]);
  await reply?.done;
  const stray = { ...gateway.item({ path: '/log' }), session: 'another' };
  const late = gateway.item({ path: '/log', timeoutMs: -1 });
  await gateway.add([item, stray, late]);
  await (await gateway.call()).done;
  const entries = await harness.logs('plain');
  const first = (id: string) => entries.filter(({ text }) => text === `first ${id}`).length;
  expect([first(item.id), first(stray.id), first(late.id)]).toEqual([1, 0, 0]);
});

test('at the deadline a solitary instance is killed and the caller learns the stage', async () => {
  const { gateway, daemon } = harness;
  await harness.deploy('slow');
  await (await gateway.call({ function: 'slow' })).done;
  const id = daemon.requests.find((request) => request.network === 'slow')?.id as string;
  const { error } = await (await gateway.call({ function: 'slow', path: '/hang', timeoutMs: 150 })).done;
  expect(error).toMatchObject({ code: 'deadline_exceeded', details: { stage: 'handler', timeoutMs: 150 } });
  await eventually(() => daemon.removed.includes(id), 'the container is removed');
  const again = await (await gateway.call({ function: 'slow' })).done;
  expect(again.started).toMatchObject([{ start: 'cold' }]);
});

test('at the deadline of one among several the others finish, then the instance ends', async () => {
  const { gateway, daemon } = harness;
  await harness.deploy('mixed', { concurrency: 4 });
  await (await gateway.call({ function: 'mixed' })).done;
  const id = daemon.requests.find((request) => request.network === 'mixed')?.id as string;
  const deaf = await gateway.call({ function: 'mixed', path: '/deaf', timeoutMs: 100 });
  const other = await gateway.call({ function: 'mixed', path: '/after?400' });
  expect((await deaf.done).error).toMatchObject({ code: 'deadline_exceeded' });
  expect((await other.done).text).toBe('later');
  expect((await other.done).pid).toBe(String(daemon.containers.get(id)?.child.pid));
  await eventually(() => daemon.removed.includes(id), 'the instance is ended');
});

test('an event loop that hangs takes its instance down a second after the deadline, and the others with it', async () => {
  const { gateway } = harness;
  await harness.deploy('hanging', { concurrency: 4 });
  await (await gateway.call({ function: 'hanging' })).done;
  const other = await gateway.call({ function: 'hanging', path: '/wait' });
  await other.until(({ started }) => started.length > 0);
  const hung = await gateway.call({ function: 'hanging', path: '/hang', timeoutMs: 100 });
  expect((await hung.done).error).toMatchObject({ code: 'deadline_exceeded' });
  expect((await other.done).error).toMatchObject({ code: 'instance_exited', details: { signal: 'SIGKILL' } });
});

test('a cancel reaches the instance, which is used again when it settles', async () => {
  const { gateway } = harness;
  await harness.deploy('cancelled');
  const reply = await gateway.call({ function: 'cancelled', path: '/wait' });
  await reply.until(({ started }) => started.length > 0);
  const instance = reply.started[0]?.instance;
  gateway.send(frameTypes.cancel, reply.stream);
  const next = await (await gateway.call({ function: 'cancelled' })).done;
  expect(next.started).toMatchObject([{ instance }]);
});

test('an instance that ignores a cancel is ended after its grace', async () => {
  const { gateway, daemon } = harness;
  await harness.deploy('ignoring');
  const reply = await gateway.call({ function: 'ignoring', path: '/deaf' });
  await reply.until(({ started }) => started.length > 0);
  gateway.send(frameTypes.cancel, reply.stream);
  const id = reply.started[0]?.instance as string;
  await eventually(() => daemon.removed.includes(id), 'the instance is ended');
});

test('an answered call keeps its slot until it is settled', async () => {
  const { gateway } = harness;
  await harness.deploy('busy', { maxInstances: 1 });
  const first = await (await gateway.call({ function: 'busy', path: '/answered-but-busy' })).done;
  expect(first.text).toBe('done');
  const { error } = await (await gateway.call({ function: 'busy', timeoutMs: 100 })).done;
  expect(error).toMatchObject({ code: 'deadline_exceeded', details: { stage: 'queue' } });
});

test('an exit is told with its code and last words', async () => {
  const { gateway } = harness;
  await harness.deploy('exits');
  const reply = await (await gateway.call({ function: 'exits', path: '/exit?3' })).done;
  expect(reply.error).toMatchObject({ code: 'instance_exited', details: { exitCode: 3, output: ['last words'] } });
  const entries = await harness.logs('exits', reply.id);
  expect(entries.map(({ stream, text }) => [stream, text])).toEqual([
    ['stderr', 'last words'],
    ['system', 'instance ended by itself: exit code 3'],
  ]);
});

test('running out of memory is told with the figures of the kernel', async () => {
  const { gateway, daemon } = harness;
  await harness.deploy('greedy', { memory: '32Mi' });
  daemon.outOfMemory = true;
  const { error } = await (await gateway.call({ function: 'greedy', path: '/exit?1' })).done;
  daemon.outOfMemory = false;
  expect(error).toMatchObject({
    code: 'out_of_memory',
    message: 'out of memory: limit 32 Mi, peak 32 Mi',
    details: { memoryLimitBytes: 32 * 1024 * 1024, memoryPeakBytes: 32 * 1024 * 1024 },
  });
});

test.each([
  ['/two-heads', 'a second head'],
  ['/bad-status', 'status 99, want 200 to 599'],
  ['/over-credit', 'more data than its credit'],
  ['/unknown-stream', 'unknown stream'],
  ['/garbage', 'frame of 4294967295 bytes'],
  ['/big-head', 'want at most 1048576'],
])('an instance that sends %s is killed, not trusted', async (path, message) => {
  const { gateway, daemon } = harness;
  const reply = await (await gateway.call({ path })).done;
  expect(reply.error).toMatchObject({ code: 'protocol_violation', message: expect.stringContaining(message) });
  const id = reply.started[0]?.instance as string;
  await eventually(() => daemon.removed.includes(id), 'the instance is killed');
});

test('an error of the handler keeps its message, and its stack goes to the log only', async () => {
  const { gateway } = harness;
  const reply = await (await gateway.call({ path: '/throw' })).done;
  expect(reply.error).toEqual({ code: 'handler_error', message: 'boom', details: { name: 'Error' } });
  const entries = await harness.logs('plain', reply.id);
  expect(entries.map(({ text }) => text)).toEqual(['Error: boom', '    at here']);
});

test('an instance cannot pass its error off as the platform’s', async () => {
  const { error } = await (await harness.gateway.call({ path: '/worker-lost' })).done;
  expect(error?.code).toBe('handler_error');
});

test('an unknown version is answered with not found', async () => {
  const { error } = await (await harness.gateway.call({ function: 'nobody' })).done;
  expect(error).toMatchObject({ code: 'function_not_found' });
});

test('pings are answered', async () => {
  const { gateway } = harness;
  gateway.send(frameTypes.ping, 0);
  await eventually(() => gateway.pongs > 0, 'a pong');
});
