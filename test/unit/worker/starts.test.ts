/** Starts that fail, limits that hold them back, and instances, daemons and gateways that go away. */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { frameTypes } from '../../../services/contracts/frames.ts';
import { workerStatusSchema } from '../../../services/contracts/invocation.ts';
import { eventually, type Harness, startHarness } from './harness.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness({
    environment: { STOKE_MAX_INSTANCES: '3', STOKE_MAX_STARTS: '2', STOKE_KEEP_ALIVE: '1' },
    bounds: { waitBoundMs: 400, startBoundMs: 1500 },
  });
});
afterAll(async () => {
  await harness.close();
});

const startsOf = (name: string) => harness.daemon.requests.filter((request) => request.network === name);

async function stateOf(instance: string): Promise<string | undefined> {
  const { text } = await harness.gateway.ask({ op: 'status' }).done;
  return workerStatusSchema.parse(JSON.parse(text)).instances.find(({ id }) => id === instance)?.state;
}

/** Ends what earlier tests left, so that the node has all its places. */
async function emptyNode(): Promise<void> {
  for (const name of new Set(harness.daemon.requests.map(({ network }) => network)))
    await harness.gateway.ask({ op: 'retire', function: name, removed: false }).done;
  await eventually(() => harness.daemon.alive === 0, 'no container is left');
}

test('code that cannot be loaded answers with the agent’s words and the last output', async () => {
  await harness.deploy('unloadable', { env: { FAIL_WITH: 'no handler exported', SAY_AT_START: 'loading' } });
  const reply = await (await harness.gateway.call({ function: 'unloadable' })).done;
  expect(reply.error).toEqual({
    code: 'function_unloadable',
    message: 'no handler exported',
    details: { output: expect.arrayContaining(['loading', 'no handler exported']) },
  });
  const texts = (await harness.logs('unloadable', reply.id)).map(({ text }) => text);
  expect(texts).toContain('loading');
  expect(texts).toContain('instance ended: no handler exported');
});

test('a process that exits before it is ready answers with its code and last output', async () => {
  await harness.deploy('exits-early', { env: { EXIT_AT_START: '7', SAY_AT_START: 'about to exit' } });
  const { error } = await (await harness.gateway.call({ function: 'exits-early' })).done;
  expect(error).toMatchObject({ code: 'start_failed', details: { exitCode: 7, output: ['about to exit'] } });
});

test('a failing version is started one at a time, and each failure answers one call', async () => {
  await emptyNode();
  await harness.deploy('failing', { env: { EXIT_AT_START: '1' } });
  await (await harness.gateway.call({ function: 'failing' })).done;
  const before = startsOf('failing').length;
  const items = [1, 2, 3].map(() => harness.gateway.item({ function: 'failing' }));
  const replies = await Promise.all((await harness.gateway.add(items)).map((reply) => reply.done));
  expect(replies.map(({ error }) => error?.code)).toEqual(Array(3).fill('start_failed'));
  expect(startsOf('failing')).toHaveLength(before + 3);
});

test('a start that the daemon refuses is the platform’s fault', async () => {
  await harness.deploy('refused');
  harness.daemon.refuseWith = { code: 'container_start_failed', message: 'mount: no space' };
  const { error } = await (await harness.gateway.call({ function: 'refused' })).done;
  harness.daemon.refuseWith = undefined;
  expect(error).toEqual({ code: 'container_start_failed', message: 'mount: no space' });
});

test('a start without ready ends at the bound, and its container goes', async () => {
  await harness.deploy('never-ready', { env: { NEVER_READY: '1' } });
  const { error } = await (await harness.gateway.call({ function: 'never-ready' })).done;
  expect(error).toMatchObject({ code: 'start_failed', message: 'the function was not loaded within 1500 ms' });
  await eventually(() => harness.daemon.removed.includes(startsOf('never-ready')[0]?.id as string), 'it is removed');
});

test('a deadline during the start names that stage and ends the start', async () => {
  await harness.deploy('slow-start', { env: { NEVER_READY: '1' } });
  const { error } = await (await harness.gateway.call({ function: 'slow-start', timeoutMs: 200 })).done;
  expect(error).toMatchObject({ code: 'deadline_exceeded', details: { stage: 'start', timeoutMs: 200 } });
  await eventually(() => harness.daemon.removed.includes(startsOf('slow-start')[0]?.id as string), 'it is removed');
});

test('a connection with a wrong token is not an instance', async () => {
  await harness.deploy('impostor', { env: { WRONG_TOKEN: '1' } });
  const { error } = await (await harness.gateway.call({ function: 'impostor' })).done;
  expect(error).toMatchObject({ code: 'start_failed' });
});

test('a function at its own maxInstances answers 429 after the bound', async () => {
  await emptyNode();
  await harness.deploy('narrow', { maxInstances: 1 });
  const busy = await harness.gateway.call({ function: 'narrow', path: '/wait' });
  await busy.until(({ started }) => started.length > 0);
  const { error } = await (await harness.gateway.call({ function: 'narrow' })).done;
  expect(error).toMatchObject({ code: 'concurrency_exceeded', details: { maxInstances: 1 } });
  harness.gateway.send(frameTypes.cancel, busy.stream);
});

test('a full node answers 503 after the bound, and evicts idle instances before that', async () => {
  await emptyNode();
  await Promise.all(['one', 'two'].map((name) => harness.deploy(name)));
  const busy = await harness.gateway.add([1, 2].map(() => harness.gateway.item({ function: 'one', path: '/wait' })));
  await Promise.all(busy.map((reply) => reply.until(({ started }) => started.length > 0)));
  await (await harness.gateway.call({ function: 'one' })).done;
  expect(harness.daemon.alive).toBe(3);

  const evicting = await harness.gateway.call({ function: 'two', path: '/wait' });
  await evicting.until(({ started, error }) => started.length > 0 || error !== undefined);
  expect(evicting.error).toBeUndefined();

  const { error } = await (await harness.gateway.call({ function: 'two' })).done;
  expect(error).toMatchObject({ code: 'no_capacity' });
  for (const { stream } of [...busy, evicting]) harness.gateway.send(frameTypes.cancel, stream);
});

test('a call that waits for the node gets the place of an instance that becomes idle', async () => {
  await emptyNode();
  await Promise.all(['three', 'four'].map((name) => harness.deploy(name)));
  const items = [1, 2, 3].map(() => harness.gateway.item({ function: 'three', path: '/after?200' }));
  const busy = await harness.gateway.add(items);
  await Promise.all(busy.map((reply) => reply.until(({ started }) => started.length > 0)));
  const waiting = await (await harness.gateway.call({ function: 'four' })).done;
  expect(waiting).toMatchObject({ error: undefined, started: [{ start: 'cold' }] });
});

test('an instance that is idle for longer than it is kept is ended, and the next call starts another', async () => {
  await emptyNode();
  await harness.deploy('reaped');
  await (await harness.gateway.call({ function: 'reaped' })).done;
  await eventually(() => harness.daemon.alive === 0, 'the idle instance is ended');
  expect((await (await harness.gateway.call({ function: 'reaped' })).done).started).toMatchObject([{ start: 'cold' }]);
});

test('a call that is given to an instance that has just died goes to another', async () => {
  await emptyNode();
  await harness.deploy('mortal');
  for (let round = 0; round < 5; round++) {
    const alive = await (await harness.gateway.call({ function: 'mortal' })).done;
    const id = alive.started[0]?.instance as string;
    await eventually(async () => (await stateOf(id)) === 'idle', 'the instance is idle');
    // Stopped, it cannot read: the request lies in its socket when it is killed.
    harness.daemon.containers.get(id)?.child.kill('SIGSTOP');
    const call = await harness.gateway.call({ function: 'mortal', body: 'still here' });
    await call.until(({ started }) => started.length > 0);
    harness.daemon.kill(id);
    expect(await call.done).toMatchObject({ error: undefined, text: 'still here' });
    expect(call.started).toHaveLength(2);
  }
});

test('after a crash of the daemon, calls are served again and nothing is held that is gone', async () => {
  await emptyNode();
  await harness.deploy('survivor');
  await (await harness.gateway.call({ function: 'survivor' })).done;
  await harness.daemon.crash();
  const waiting = await harness.gateway.call({ function: 'survivor' });
  await sleep(100);
  await harness.daemon.listen();
  expect(await waiting.done).toMatchObject({ error: undefined, started: [{ start: 'cold' }] });
  expect(harness.daemon.sessions.at(-1)).toEqual({ owner: 'worker-test', holds: [] });
});

test('a daemon that comes back is told which containers are still held', async () => {
  await emptyNode();
  await harness.deploy('held');
  const [started] = (await (await harness.gateway.call({ function: 'held' })).done).started;
  const before = harness.daemon.sessions.length;
  harness.daemon.endSessions();
  await eventually(() => harness.daemon.sessions.length > before, 'a new session');
  expect(harness.daemon.sessions.at(-1)?.holds).toEqual([started?.instance]);
});

test('when the reply channel breaks its calls are cancelled, and the next connection has a queue of its own', async () => {
  await emptyNode();
  await harness.deploy('cut-off');
  const call = await harness.gateway.call({ function: 'cut-off', path: '/wait' });
  await call.until(({ started }) => started.length > 0);
  const queue = harness.gateway.hello?.queue;
  harness.gateway.hangUp();
  await harness.gateway.greeted;
  expect(harness.gateway.hello?.queue).not.toBe(queue);
  const next = await (await harness.gateway.call({ function: 'cut-off' })).done;
  expect(next.started).toMatchObject([{ start: 'warm', instance: call.started[0]?.instance }]);
});

test('closing lets running calls finish, ends all containers and leaves no socket', async () => {
  const own = await startHarness();
  await own.deploy('closing');
  const call = await own.gateway.call({ function: 'closing', path: '/after?300' });
  await call.until(({ started }) => started.length > 0);
  const closing = own.worker.close();
  expect((await call.done).text).toBe('later');
  await closing;
  expect(own.daemon.alive).toBe(0);
  expect(existsSync(`${own.folder}/instances.sock`)).toBe(false);
  await own.close();
});
