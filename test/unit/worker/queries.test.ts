/** Logs as they are kept and read, and the other questions of the gateway. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { frameTypes } from '../../../services/contracts/frames.ts';
import { type LogEntry, workerStatusSchema } from '../../../services/contracts/invocation.ts';
import { eventually, type Harness, startHarness } from './harness.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(async () => {
  await harness.close();
});

test('output is kept in lines by invocation, with where it came from', async () => {
  await harness.deploy('talks');
  const [one, two] = [
    await harness.gateway.call({ function: 'talks', path: '/log' }),
    await harness.gateway.call({ function: 'talks', path: '/log' }),
  ];
  await Promise.all([one.done, two.done]);
  const entries = await harness.logs('talks', one.id);
  expect(entries.map(({ stream, text }) => [stream, text])).toEqual(
    [
      ['stdout', `first ${one.id}`],
      ['stdout', 'second without a line feed'],
      ['stderr', 'to stderr'],
    ].toSorted((a, b) => Number(a[1] === 'second without a line feed') - Number(b[1] === 'second without a line feed')),
  );
  expect(entries[0]).toMatchObject({ invocation: one.id, version: 1, instance: one.started[0]?.instance });
  const all = await harness.logs('talks');
  expect(new Set(all.map(({ invocation }) => invocation))).toEqual(new Set([one.id, two.id]));
});

test('raw output of a solitary instance belongs to the invocation that runs', async () => {
  await harness.deploy('raw');
  const reply = await (await harness.gateway.call({ function: 'raw', path: '/raw' })).done;
  expect(await harness.logs('raw', reply.id)).toMatchObject([{ stream: 'stdout', text: 'raw output' }]);
});

test('output beyond 256 KiB of an invocation is cut, with a note, and the next one has its own', async () => {
  await harness.deploy('floods');
  const first = await (await harness.gateway.call({ function: 'floods', path: '/flood' })).done;
  const second = await (await harness.gateway.call({ function: 'floods', path: '/log' })).done;
  const entries = await harness.logs('floods', first.id);
  expect(entries.at(-1)).toMatchObject({ stream: 'system', text: expect.stringContaining('256 KiB') });
  expect(entries.filter(({ stream }) => stream === 'stdout')).toHaveLength(256);
  expect(await harness.logs('floods', second.id)).toHaveLength(3);
});

test('tail gives the last entries', async () => {
  await harness.deploy('tailed');
  const reply = await (await harness.gateway.call({ function: 'tailed', path: '/flood' })).done;
  await harness.gateway.call({ function: 'tailed', path: '/log' }).then((call) => call.done);
  const { text } = await harness.gateway.ask({ op: 'logs', function: 'tailed', tail: 2, follow: false }).done;
  expect(text.trim().split('\n')).toHaveLength(2);
  const own = { op: 'logs', function: 'tailed', invocation: reply.id, tail: 1, follow: false } as const;
  expect(JSON.parse((await harness.gateway.ask(own).done).text)).toMatchObject({
    stream: 'system',
    invocation: reply.id,
  });
});

test('a log larger than the credit waits for more', async () => {
  await harness.deploy('large');
  for (let call = 0; call < 2; call++) await (await harness.gateway.call({ function: 'large', path: '/flood' })).done;
  const reply = harness.gateway.ask({ op: 'logs', function: 'large', follow: false });
  await reply.until(({ text }) => text.length === 256 * 1024);
  harness.gateway.grant(reply, 8 * 1024 * 1024);
  expect((await reply.done).text.trim().split('\n')).toHaveLength(2 * 257);
});

test('a followed log gives what is kept, then what comes, each once, until it is cancelled', async () => {
  await harness.deploy('followed');
  const before = await (await harness.gateway.call({ function: 'followed', path: '/log' })).done;
  const following = harness.gateway.ask({ op: 'logs', function: 'followed', follow: true });
  const after = await (await harness.gateway.call({ function: 'followed', path: '/log' })).done;
  await following.until(({ text }) => text.trim().split('\n').length >= 6);
  const entries = following.text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as LogEntry);
  expect(entries.map(({ invocation }) => invocation)).toEqual([
    ...Array(3).fill(before.id),
    ...Array(3).fill(after.id),
  ]);
  harness.gateway.send(frameTypes.cancel, following.stream);
});

test('status lists the instances', async () => {
  await harness.deploy('listed');
  const call = await harness.gateway.call({ function: 'listed', path: '/after?100' });
  await call.until(({ started }) => started.length > 0);
  const status = workerStatusSchema.parse(JSON.parse((await harness.gateway.ask({ op: 'status' }).done).text));
  expect(status.instances.find((instance) => instance.function === 'listed')).toMatchObject({
    state: 'busy',
    version: 1,
    invocations: 1,
  });
  expect(status).toMatchObject({ node: 'test', waiting: 0 });
});

test('verify starts an instance that the first call finds warm', async () => {
  await harness.deploy('verified');
  const { text } = await harness.gateway.ask({ op: 'verify', function: 'verified', version: 1, keep: true }).done;
  expect(JSON.parse(text)).toEqual({ startMs: expect.any(Number) });
  const { started } = await (await harness.gateway.call({ function: 'verified' })).done;
  expect(started).toMatchObject([{ start: 'warm' }]);
});

test('verify without keep ends the instance, and passes on why a start fails', async () => {
  await harness.deploy('checked');
  await harness.gateway.ask({ op: 'verify', function: 'checked', version: 1, keep: false }).done;
  const started = harness.daemon.requests.find((request) => request.network === 'checked')?.id as string;
  await eventually(() => harness.daemon.removed.includes(started), 'the instance is ended');
  await harness.deploy('wrong', { env: { FAIL_WITH: 'index.js:3: unexpected token' } });
  const { error } = await harness.gateway.ask({ op: 'verify', function: 'wrong', version: 1, keep: true }).done;
  expect(error).toMatchObject({ code: 'function_unloadable', message: 'index.js:3: unexpected token' });
});

test('retire ends idle instances of older versions at once, busy ones after their call', async () => {
  await harness.deploy('retired', {}, 1);
  await harness.deploy('retired', {}, 2);
  const busy = await harness.gateway.call({ function: 'retired', path: '/after?200' });
  await busy.until(({ started }) => started.length > 0);
  const idle = await (await harness.gateway.call({ function: 'retired' })).done;
  const newer = await (await harness.gateway.call({ function: 'retired', version: 2 })).done;
  await harness.gateway.ask({ op: 'retire', function: 'retired', below: 2, removed: false }).done;
  await eventually(() => harness.daemon.removed.includes(idle.started[0]?.instance as string), 'the idle one is ended');
  expect((await busy.done).text).toBe('later');
  await eventually(() => harness.daemon.removed.includes(busy.started[0]?.instance as string), 'the busy one is ended');
  expect(harness.daemon.containers.has(newer.started[0]?.instance as string)).toBe(true);
});

test('a function that was removed and deployed anew runs its new content under the same version number', async () => {
  await harness.deploy('renewed', { env: { CONTENT: 'old' } });
  await (await harness.gateway.call({ function: 'renewed', path: '/log' })).done;
  await harness.gateway.ask({ op: 'retire', function: 'renewed', removed: true }).done;
  expect(await harness.logs('renewed')).not.toContainEqual(expect.objectContaining({ stream: 'stdout' }));
  await harness.deploy('renewed', { env: { CONTENT: 'new' } });
  await (await harness.gateway.call({ function: 'renewed' })).done;
  expect(harness.daemon.requests.findLast((request) => request.network === 'renewed')?.env.CONTENT).toBe('new');
});

test('a query of another shape is refused with what is wrong', async () => {
  const wrong = { op: 'verify', function: 'x' } as unknown as Parameters<typeof harness.gateway.ask>[0];
  expect((await harness.gateway.ask(wrong).done).error).toMatchObject({ code: 'invalid_request' });
});
