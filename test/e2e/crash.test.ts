/**
 * `kill -9` of each process in turn, under load: serving again within 3 s, every caller gets an answer or an error,
 * nothing runs twice, nothing is left over.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { FunctionSummary } from '../../services/contracts/management-api.ts';
import { type Answer, call } from './support/call.ts';
import { Installation } from './support/installation.ts';
import { Load } from './support/load.ts';
import { findProcesses, findTraces } from './support/traces.ts';
import { until } from './support/until.ts';

/** The bound, from the kill to the first answer of a call that began after it. */
const serveAgainWithinMs = 3000;
const loops = 8;

let stoke: Installation;

const victims = ['gateway', 'worker', 'daemon', 'zygote', 'redis-durable', 'redis-volatile'] as const;
type Victim = (typeof victims)[number];

beforeAll(async () => {
  stoke = await Installation.start();
  await stoke.deploy('counted');
  // Never called before, so that their first call needs a new container.
  for (const victim of victims) await deployFresh(`fresh-${victim}`);
});
afterAll(() => stoke.stop());

function deployFresh(name: string) {
  const files = { 'index.mjs': "export const handler = () => 'a fresh instance';" };
  return stoke.deploy({ config: { name }, files }, '--no-verify');
}

async function pidOf(victim: Victim): Promise<number> {
  if (victim !== 'zygote') return stoke.pid(victim);
  const daemon = await stoke.pid('daemon');
  const zygote = findProcesses(stoke.config).find(({ parent, command }) => parent === daemon && /zygote/.test(command));
  if (!zygote) throw new Error('the daemon has no zygote');
  return zygote.pid;
}

/** Calls until it is answered with 200. */
async function callUntilServed(path: string): Promise<Answer> {
  const look = () => call(`${stoke.url}/fn/${path}`).catch((error: Error) => ({ status: 0, text: error.message }));
  return (await until(`${path} answers`, look, ({ status }) => status === 200, 15_000)) as Answer;
}

describe.each(victims)('kill -9 of %s under load', (victim) => {
  let load: Load;
  let killedAt: number;
  let freshAt: number;

  beforeAll(async () => {
    load = new Load(loops, (key) => `${stoke.url}/fn/counted?key=${key}`);
    await until(
      'the load is served',
      () => load.servedSince(0).length,
      (served) => served >= 50,
    );
    const pid = await pidOf(victim);
    killedAt = performance.now();
    process.kill(pid, 'SIGKILL');
    await callUntilServed(`fresh-${victim}`);
    freshAt = performance.now();
    await until(
      'the load is served again',
      () => load.servedSince(killedAt).length,
      (served) => served >= 50,
      15_000,
    );
    await until('another has taken its place', async () => (await pidOf(victim).catch(() => pid)) !== pid, Boolean);
    await load.stop();
  });

  test('calls are served again within 3 s, of a warm function and of one that needs a new container', () => {
    const first = Math.min(...load.servedSince(killedAt).map(({ endedAt }) => endedAt));
    expect(first - killedAt).toBeLessThanOrEqual(serveAgainWithinMs);
    expect(freshAt - killedAt).toBeLessThanOrEqual(serveAgainWithinMs);
  });

  test('every caller got an answer or an error, and every answer is its own', () => {
    expect(load.outcomes.filter(({ text }) => text.startsWith('no answer within'))).toEqual([]);
    for (const { key, status, text } of load.outcomes) {
      if (status === 200) expect(text).toBe(`ran ${key}`);
      else if (status !== null) expect({ status, text }).toMatchObject({ status: expect.toBeOneOf([502, 503]) });
      // Only the gateway's own death may break a caller's connection.
      else expect([victim, text]).toEqual(['gateway', text]);
    }
  });

  test('nothing ran twice', async () => {
    const served = load.outcomes.filter(({ status }) => status === 200).map(({ key }) => key);
    const ran = new Map<string, number>();
    for (const { text, stream } of await stoke.logs('counted')) {
      if (stream === 'stdout') ran.set(text.trim(), (ran.get(text.trim()) ?? 0) + 1);
    }
    expect([...ran].filter(([, times]) => times > 1)).toEqual([]);
    // What the log is worth: it knows of nearly all that was answered. A killed worker takes its last lines with it.
    const missing = served.filter((key) => !ran.has(`ran ${key}`));
    if (victim === 'worker') expect(missing.length).toBeLessThan(served.length / 2);
    else expect(missing).toEqual([]);
    // The next victim's load counts from 1 again.
    await stoke.json(['remove', 'counted']);
    await stoke.deploy('counted');
  });

  test('functions and versions are still there, and new ones can be deployed', async () => {
    const { functions } = await stoke.json<{ functions: FunctionSummary[] }>(['list']);
    expect(functions.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['counted', ...victims.map((each) => `fresh-${each}`)]),
    );
    await stoke.deploy({
      config: { name: 'afterwards' },
      files: { 'index.mjs': `export const handler = () => 'after ${victim}';` },
    });
    expect((await call(`${stoke.url}/fn/afterwards`)).text).toBe(`after ${victim}`);
  });

  test('no container is left that no instance stands for', () => stoke.expectOnlyKnownContainers());
});

describe('kill -9 of the supervisor', () => {
  test('ends everything, and a new one takes over with functions and versions', async () => {
    await stoke.deploy('counted');
    const load = new Load(loops, (key) => `${stoke.url}/fn/counted?key=${key}`);
    await until(
      'the load is served',
      () => load.servedSince(0).length,
      (served) => served >= 20,
    );
    const before = await stoke.json<{ functions: FunctionSummary[] }>(['list']);
    const old = findProcesses(stoke.config).map(({ pid }) => pid);
    process.kill(stoke.supervisorPid, 'SIGKILL');
    await stoke.exited();
    await load.stop();
    // At once, while the old processes are still on their way out.
    await stoke.up();
    const now = findProcesses(stoke.config).map(({ pid }) => pid);
    expect(now.filter((pid) => old.includes(pid))).toEqual([]);
    expect(await stoke.json(['list'])).toEqual(before);
    expect((await call(`${stoke.url}/fn/counted`)).status).toBe(200);
    await stoke.expectOnlyKnownContainers();
  });

  test('leaves nothing running when no new one comes', async () => {
    process.kill(stoke.supervisorPid, 'SIGKILL');
    await stoke.exited();
    await until(
      'all its processes have ended',
      () => findProcesses(stoke.config),
      (left) => left.length === 0,
      15_000,
    );
    const down = await stoke.fn(['down']);
    expect(down).toMatchObject({ exitCode: 0 });
    await stoke.up();
  });
});

test('fn down during load answers or refuses every call, exits with 0 and leaves nothing', async () => {
  await stoke.deploy('counted');
  const load = new Load(loops, (key) => `${stoke.url}/fn/counted?key=${key}`);
  await until(
    'the load is served',
    () => load.servedSince(0).length,
    (served) => served >= 50,
  );
  const askedAt = performance.now();
  const [down, exit] = await Promise.all([stoke.fn(['down']), stoke.exited()]);
  expect(down).toMatchObject({ exitCode: 0 });
  expect(exit).toEqual({ code: 0, signal: null });
  await load.stop();
  expect(findTraces(stoke.config)).toEqual([]);
  for (const { key, startedAt, status, text } of load.outcomes) {
    if (startedAt < askedAt || status !== null) expect([status, text]).toEqual([200, `ran ${key}`]);
  }
  await stoke.up();
});
