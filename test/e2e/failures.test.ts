/** What callers and authors get to know when a function misbehaves, and that it harms nobody but itself. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LogEntry } from '../../services/contracts/invocation.ts';
import { type Answer, call } from './support/call.ts';
import { Installation } from './support/installation.ts';
import { findContainerGroups } from './support/traces.ts';
import { until } from './support/until.ts';

let stoke: Installation;
const url = (path: string) => `${stoke.url}/fn/${path}`;

beforeAll(async () => {
  stoke = await Installation.start();
  await Promise.all([stoke.deploy('misbehaving'), stoke.deploy('patient')]);
});
afterAll(() => stoke.stop());

/** Has the function do one of its deeds. */
function deed(name: string): Promise<Answer> {
  const headers = { 'content-type': 'application/json' };
  return call(url('misbehaving'), { headers, body: JSON.stringify(name) });
}

function idOf({ headers }: Pick<Answer, 'headers'>): string {
  return String(headers['x-fn-invocation-id']);
}

async function expectWell(): Promise<void> {
  expect(await deed('nothing')).toMatchObject({ status: 200, text: 'well behaved' });
}

describe('a call', () => {
  test('of a function that does not exist is 404, whatever its name', async () => {
    for (const name of ['nobody', 'NOT%20A%20NAME', '..%2f..%2fetc', '', 'x'.repeat(5000)]) {
      const answer = await call(url(name));
      expect([name, answer.status, answer.error().code]).toEqual([name, 404, 'function_not_found']);
      expect(answer.headers['x-fn-invocation-id']).toBeDefined();
      expect(answer.headers['server-timing']).toMatch(/^total;dur=/);
    }
  });

  test('that is not HTTP is 400, and harms no other', async () => {
    const { port, hostname } = new URL(stoke.url);
    const socket = connect(Number(port), hostname);
    socket.end('NONSENSE\r\n\r\n');
    expect(await text(socket)).toMatch(/^HTTP\/1.1 400 Bad Request\r\n.*"code":"invalid_request"/s);
    await expectWell();
  });

  test('whose client sends half a body and hangs up is cancelled, and its slot is free again', async () => {
    for (const headers of [
      { 'content-length': 100 },
      { 'content-length': 1_000_000 },
      { 'transfer-encoding': 'chunked' },
    ]) {
      const outgoing = request(url('patient/body'), { agent: false, method: 'POST', headers });
      const failed = once(outgoing, 'error');
      outgoing.write('half');
      await until('the call is under way or was never begun', inFlight, (count) => count === 1);
      outgoing.destroy(new Error('hung up'));
      await failed;
      await until('the gateway knows that it is gone', inFlight, (count) => count === 0);
    }
    expect((await call(url('patient/body'), { body: 'whole' })).text).toBe('5');
  });

  test('whose client hangs up has its signal aborted, and says so in its log', async () => {
    const outgoing = request(url('patient?key=hang-up'), { agent: false });
    outgoing.on('error', () => undefined).end();
    const begun = await until('the function has begun', () => stoke.logs('patient'), hasText('begun hang-up'));
    outgoing.destroy();
    const id = begun.find((entry) => entry.text.includes('begun hang-up'))?.invocation as string;
    const log = await stoke.logOf('patient', id, /aborted/);
    expect(log.map((entry) => entry.text).join('')).toMatch(/aborted: .*(caller|client)/);
    await until('the gateway knows that it is gone', inFlight, (count) => count === 0);
  });

  test('beyond what may run and wait is 429 with Retry-After, and the next one after that is served', async () => {
    await stoke.deploy({
      config: { name: 'narrow', maxInstances: 1, timeout: 10 },
      files: {
        'index.mjs': "export const handler = () => new Promise((resolve) => setTimeout(resolve, 20, 'served'));",
      },
    });
    const answers = await Promise.all(Array.from({ length: 130 }, () => call(url('narrow'))));
    const refused = answers.filter((answer) => answer.status !== 200);
    expect(answers.length - refused.length).toBeGreaterThanOrEqual(100);
    expect(refused.length).toBeGreaterThan(0);
    for (const answer of refused) {
      expect(answer).toMatchObject({ status: 429 });
      expect(answer.headers['retry-after']).toMatch(/^\d+$/);
      expect(answer.error().code).toBe('concurrency_exceeded');
    }
    expect((await call(url('narrow'))).text).toBe('served');
  });
});

async function inFlight(): Promise<number> {
  return (await stoke.platform()).gateway.inFlight;
}

function hasText(wanted: string): (entries: LogEntry[]) => boolean {
  return (entries) => entries.some((entry) => entry.text.includes(wanted));
}

describe('a handler that throws', () => {
  test.each(['throw', 'reject'])(
    '(%s) is 500 without its message; the log has message, place and cause',
    async (how) => {
      const answer = await deed(how);
      expect(answer.status).toBe(500);
      expect(answer.error()).toMatchObject({ code: 'handler_error', details: { invocation: idOf(answer) } });
      expect(answer.text).not.toMatch(/1234|later|database/);
      const log = await stoke.logOf('misbehaving', idOf(answer), /TypeError/);
      const said = log.map((entry) => entry.text).join('');
      expect(said).toMatch(/TypeError: (the password is 1234|later)/);
      expect(said).toContain('lib/database.mjs:2');
      expect(said).toContain('caused by Error: the cause');
    },
  );

  test('is 500 with its message when the function exposes its errors, never with its stack', async () => {
    const answer = await call(url('patient/throw'));
    expect(answer).toMatchObject({ status: 500 });
    expect(answer.error()).toMatchObject({ code: 'handler_error', message: 'what everyone may know' });
    expect(answer.text).not.toContain('index.mjs');
  });

  test.each(['throw-string', 'throw-null', 'throw-getter'])('what is no Error (%s) is 500 too', async (how) => {
    const answer = await deed(how);
    expect(answer.status).toBe(500);
    expect(answer.error().code).toBe('handler_error');
  });

  test.each([
    ['bigint', /result\.items\[0\]\.price is a BigInt/],
    ['cycle', /result\.self\.result is result again, a cycle/],
    ['bad-status', /statusCode 99/],
    ['bad-header', /header "x-bad"/],
  ])('or returns what cannot be sent (%s) is 500 with the place in the result', async (how, message) => {
    const answer = await deed(how);
    expect(answer.status).toBe(500);
    expect(answer.error().code).toBe('result_not_serializable');
    expect(answer.error().message).toMatch(message);
  });

  test('stays alive: the next call is warm', async () => {
    await deed('throw');
    const next = await deed('nothing');
    expect(next.headers['x-fn-start']).toBe('warm');
  });
});

describe('an instance that ends in the middle of a call', () => {
  test('by process.exit is 502 with its exit code; its last words are in the log', async () => {
    const answer = await deed('exit');
    expect(answer.status).toBe(502);
    expect(answer.error()).toMatchObject({ code: 'instance_exited', details: { exitCode: 7 } });
    expect(answer.headers['x-fn-start']).toBeDefined();
    await stoke.logOf('misbehaving', idOf(answer), /last words/);
    await expectWell();
  });

  test('by a signal is 502 with its name', async () => {
    const answer = await deed('abort');
    expect(answer).toMatchObject({ status: 502 });
    expect(answer.error()).toMatchObject({
      code: 'instance_exited',
      details: { signal: expect.stringMatching(/^SIG/) },
    });
    await expectWell();
  });

  test('by an exception that nothing caught is an error of the handler, and the log has it', async () => {
    const answer = await deed('uncaught');
    expect(answer.status).toBe(500);
    expect(answer.error().code).toBe('handler_error');
    await stoke.logOf('misbehaving', idOf(answer), /TypeError: from a timer/);
    await expectWell();
  });

  test('because it never ends is 504 in time, with the stage, and is gone', async () => {
    const startedAt = performance.now();
    const answers = await Promise.all([deed('spin'), deed('wait')]);
    const elapsed = performance.now() - startedAt;
    for (const answer of answers) {
      expect(answer.status).toBe(504);
      expect(answer.error()).toMatchObject({
        code: 'deadline_exceeded',
        details: { stage: 'handler', timeoutMs: 5000 },
      });
    }
    expect(elapsed).toBeGreaterThan(4900);
    expect(elapsed).toBeLessThan(6500);
    await stoke.expectOnlyKnownContainers();
    await expectWell();
  });

  test.each(['hoard', 'hoard-objects'])(
    'because it takes memory without end (%s) is 502 with limit and peak',
    async (how) => {
      const answer = await deed(how);
      expect(answer.status).toBe(502);
      expect(answer.error()).toMatchObject({ code: 'out_of_memory', details: { memoryLimitBytes: 64 * 1024 * 1024 } });
      expect(Number(answer.error().details?.memoryPeakBytes)).toBeGreaterThan(60 * 1024 * 1024);
      await stoke.logOf('misbehaving', idOf(answer), /out of memory: limit 64 Mi/);
      await expectWell();
    },
  );

  test.each(['garbage', 'endless-frame'])('because it broke the protocol (%s) is 502 and killed', async (how) => {
    const answer = await deed(how);
    expect(answer.status).toBe(502);
    expect(answer.error().code).toBe('protocol_violation');
    await stoke.expectOnlyKnownContainers();
    await expectWell();
  });
});

describe('an instance that takes too much', () => {
  test('of /tmp gets ENOSPC, and goes on', async () => {
    expect(await deed('fill-tmp')).toMatchObject({ status: 200, text: '{"code":"ENOSPC"}' });
  });

  test('of the process table is held back; other functions answer meanwhile', async () => {
    const bombing = deed('bomb');
    const others: number[] = [];
    let over = false;
    const watch = bombing.finally(() => {
      over = true;
    });
    while (!over) {
      const startedAt = performance.now();
      expect((await call(url('patient/body'), { body: 'x' })).status).toBe(200);
      others.push(performance.now() - startedAt);
    }
    const answer = await watch;
    expect(Math.max(...others)).toBeLessThan(3000);
    // Refused more processes, it answers; or its memory is at its end first, or its time.
    expect([200, 502, 504]).toContain(answer.status);
    if (answer.status === 200) expect(answer.json()).toMatchObject({ refused: ['EAGAIN'] });
    await stoke.json(['remove', 'misbehaving']);
    await until(
      'nothing of the bomb runs',
      () => findContainerGroups(stoke.config).reduce((most, { pids }) => Math.max(most, pids.length), 0),
      (most) => most <= 1,
    );
    await stoke.deploy('misbehaving');
    await expectWell();
  });

  test.each(['flood', 'flood-raw'])('of the log (%s) is cut with a note, and the worker stays small', async (how) => {
    const worker = await stoke.pid('worker');
    const before = residentBytes(worker);
    const answer = await deed(how);
    expect(answer.status).toBe(200);
    const log = await stoke.logOf('misbehaving', idOf(answer), /dropped|cut|omitted/i);
    const bytes = log.reduce((sum, entry) => sum + entry.text.length, 0);
    expect(bytes).toBeLessThan(4 * 1024 * 1024);
    expect(residentBytes(worker) - before).toBeLessThan(100 * 1024 * 1024);
    await expectWell();
  });
});

function residentBytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1]) * 1024;
}
