/** The command line against a platform that runs: as a person types it, and as a script reads it. */
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createProgram } from '../../services/cli/program.ts';
import type { LogEntry } from '../../services/contracts/invocation.ts';
import type { FunctionDetail, FunctionSummary } from '../../services/contracts/management-api.ts';
import { call } from './support/call.ts';
import { Installation } from './support/installation.ts';
import { findContainerGroups, findTraces } from './support/traces.ts';
import { until } from './support/until.ts';

let stoke: Installation;
const fn = (...args: string[]) => stoke.fn(args);

beforeAll(async () => {
  stoke = await Installation.start();
});
afterAll(() => stoke.stop());

const greeting = (text: string) => ({
  config: { name: 'greeting' },
  files: { 'index.mjs': `export const handler = () => { console.log('said'); return ${JSON.stringify(text)}; };` },
});

describe('a new user', () => {
  test.each(['typescript', 'javascript'])('makes, deploys and calls a function in %s', async (template) => {
    const name = `my-${template}`;
    expect(await fn('init', name, '--template', template)).toMatchObject({ exitCode: 0, stderr: '' });
    const deployed = await fn('deploy', name);
    expect(deployed).toMatchObject({ exitCode: 0, stderr: '' });
    expect(deployed.stdout).toContain(`${stoke.url}/fn/${name}`);
    const invoked = await fn('invoke', name, '--path', '?name=you');
    expect(invoked).toMatchObject({ exitCode: 0, stderr: '' });
    expect(JSON.parse(invoked.stdout)).toMatchObject({ greeting: 'hello, you' });
    const logs = await until(
      'its output is in the log',
      () => fn('logs', name),
      ({ stdout }) => stdout.includes('greeting you'),
    );
    expect(logs.exitCode).toBe(0);
  });

  test('is told what to do when the name is taken by other files, or nothing is there to deploy', async () => {
    const again = await fn('init', 'my-typescript');
    expect(again).toMatchObject({ exitCode: 1 });
    expect(again.stderr).toMatch(/^error: .*already has .*\n {2}nothing was written/);
    const nothing = await fn('deploy', 'no-such-folder');
    expect(nothing).toMatchObject({ exitCode: 1, stdout: '' });
    expect(nothing.stderr).toMatch(/^error: .*no-such-folder/);
  });
});

describe('every command', () => {
  const names = createProgram().commands.map((command) => command.name());

  test.each(names)('%s --help explains itself and exits with 0', async (name) => {
    const help = await fn(name, '--help');
    expect(help).toMatchObject({ exitCode: 0, stderr: '' });
    expect(help.stdout).toMatch(new RegExp(`^Usage: fn ${name}`));
    expect(help.stdout).toContain('--json');
  });

  test.each(names)('%s with an unknown option exits with 2', async (name) => {
    const wrong = await fn(name, '--no-such-option');
    expect(wrong).toMatchObject({ exitCode: 2, stdout: '' });
    expect(wrong.stderr).toContain('--no-such-option');
  });

  test.each([['invoke'], ['inspect'], ['remove'], ['logs']])('%s of an unknown function exits with 1', async (name) => {
    const unknown = await fn(name, 'nobody');
    expect(unknown).toMatchObject({ exitCode: 1, stdout: '' });
    expect(unknown.stderr).toBe('error: function "nobody" does not exist\n  see what is deployed with: fn list\n');
    const json = await fn(name, 'nobody', '--json');
    expect(json.exitCode).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({ error: { code: 'function_not_found' } });
  });
});

describe('fn deploy', () => {
  test('of the same content says that nothing changed; of other content makes a version that answers at once', async () => {
    const first = await stoke.deploy(greeting('one'));
    expect(first).toMatchObject({ function: 'greeting', version: 1, created: true });
    const same = await stoke.deploy(greeting('one'));
    expect(same).toMatchObject({ version: 1, created: false, digest: first.digest });
    const folder = await stoke.write(greeting('one'));
    expect((await fn('deploy', folder)).stdout).toMatch(/^unchanged: greeting@1 .*nothing to send/);

    const second = await stoke.deploy(greeting('two'));
    expect(second).toMatchObject({ version: 2, created: true });
    // What the command took beside its own start; the budget for changed code to its first answer is 150 ms alone.
    expect(second.totalMs).toBeLessThan(1000);
    const answer = await call(`${stoke.url}/fn/greeting`);
    expect(answer.text).toBe('two');
    expect(answer.headers['x-fn-version']).toBe('2');
  });

  test('replaces a version under load without one failed call', async () => {
    let stopped = false;
    const seen: string[] = [];
    const load = Promise.all(
      Array.from({ length: 4 }, async () => {
        while (!stopped) {
          const { status, text } = await call(`${stoke.url}/fn/greeting`);
          seen.push(`${status} ${text}`);
        }
      }),
    );
    await until(
      'the load is served',
      () => seen.length,
      (count) => count > 20,
    );
    for (const text of ['three', 'four']) await stoke.deploy(greeting(text));
    const deployedAt = seen.length;
    await until(
      'calls went on after the deploy',
      () => seen.length,
      (count) => count > deployedAt + 20,
    );
    stopped = true;
    await load;
    expect([...new Set(seen)].sort()).toEqual(['200 four', '200 three', '200 two']);
    // Each of the four had at most one call under way when the version changed, however long that one took.
    const late = seen.slice(deployedAt).filter((answer) => answer !== '200 four');
    expect(late.length).toBeLessThanOrEqual(4);
  });
});

describe('fn invoke', () => {
  beforeAll(() => stoke.deploy('fetch-typescript'));

  test('sends data, headers, path and method, and shows the answer', async () => {
    const args = ['--data', '{"a":1}', '-H', 'x-own: value', '--path', '/sub?q=1', '-X', 'put', '--json'];
    const { exitCode, stdout } = await fn('invoke', 'fetch-typescript', ...args);
    expect(exitCode).toBe(0);
    const { status, start, timings, body } = JSON.parse(stdout);
    expect({ status, body }).toMatchObject({ status: 200, body: { method: 'PUT', path: '/sub?q=1' } });
    expect(Buffer.from(body.body, 'base64').toString()).toBe('{"a":1}');
    expect(body.headers).toContainEqual(['x-own', 'value']);
    expect(start).toMatch(/^(warm|prewarmed|cold)$/);
    expect(Object.keys(timings)).toEqual(['queue', 'start', 'handler', 'total']);
  });

  test('sends standard input and files, and shows head and times on stderr when it is asked to', async () => {
    const input = Buffer.from([0, 1, 254, 255]);
    const piped = await stoke.fn(['invoke', 'fetch-typescript', '--data', '-', '--verbose'], { input });
    expect(Buffer.from(JSON.parse(piped.stdout).body, 'base64').equals(input)).toBe(true);
    expect(piped.stderr).toMatch(/< 200 OK[\s\S]*start: (warm|cold)/);
    const file = await stoke.write({ files: { 'body.txt': 'from a file' } });
    const sent = await fn('invoke', 'fetch-typescript', '--data', `@${file}/body.txt`);
    expect(Buffer.from(JSON.parse(sent.stdout).body, 'base64').toString()).toBe('from a file');
  });

  test('exits with 1 when the function fails, and says where its log is', async () => {
    await stoke.deploy('patient');
    const failed = await fn('invoke', 'patient', '--path', '/throw');
    expect(failed).toMatchObject({ exitCode: 1, stdout: '' });
    expect(failed.stderr).toContain('error: what everyone may know');
  });
});

describe('fn logs', () => {
  test('shows one invocation, or the last entries', async () => {
    const answers = [await call(`${stoke.url}/fn/greeting`), await call(`${stoke.url}/fn/greeting`)];
    for (const { headers } of answers) {
      const id = String(headers['x-fn-invocation-id']);
      const entries = await stoke.logs('greeting', '--invocation', id);
      expect(entries.map(({ invocation, text }) => [invocation, text.trim()])).toEqual([[id, 'said']]);
    }
    expect(await stoke.logs('greeting', '--tail', '2')).toHaveLength(2);
  });

  test('-f goes on with what comes, until it is interrupted', async () => {
    const entries: LogEntry[] = [];
    const following = Promise.withResolvers<void>();
    let kill: (signal: NodeJS.Signals) => void = () => undefined;
    let rest = '';
    const running = stoke.fn(['logs', 'greeting', '--follow', '--tail', '1', '--json'], {
      onStart: (send) => {
        kill = send;
      },
      onOutput: (text) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop() as string;
        entries.push(...lines.map((line) => JSON.parse(line) as LogEntry));
        following.resolve();
      },
    });
    await following.promise;
    const answer = await call(`${stoke.url}/fn/greeting`);
    const id = answer.headers['x-fn-invocation-id'];
    await until(
      'the new entry is shown',
      () => entries,
      (all) => all.some(({ invocation }) => invocation === id),
    );
    kill('SIGINT');
    expect((await running).signal ?? 'SIGINT').toBe('SIGINT');
  });
});

describe('functions that are deployed', () => {
  test('are listed, inspected and removed, with all that belongs to them', async () => {
    const { functions } = await stoke.json<{ functions: FunctionSummary[] }>(['list']);
    expect(functions.find(({ name }) => name === 'greeting')).toMatchObject({ version: 4, runtime: 'node24' });
    expect((await fn('list')).stdout).toMatch(/^NAME +VERSION +RUNTIME +MEMORY +UPDATED +URL\n/);

    const detail = await stoke.json<FunctionDetail>(['inspect', 'greeting']);
    expect(detail.versions.map(({ version }) => version)).toEqual([1, 2, 3, 4]);
    expect((await fn('inspect', 'greeting')).stdout).toMatch(/4 \(current\)/);

    const logs = `${stoke.config.home}/logs/functions/greeting`;
    expect(existsSync(logs)).toBe(true);
    expect(await fn('remove', 'greeting')).toMatchObject({ exitCode: 0, stdout: 'removed greeting\n' });
    expect((await call(`${stoke.url}/fn/greeting`)).status).toBe(404);
    expect(existsSync(logs)).toBe(false);
    await stoke.expectOnlyKnownContainers();
    const { workers } = await stoke.platform();
    expect(workers.flatMap(({ instances }) => instances).filter((each) => each.function === 'greeting')).toEqual([]);
  });
});

describe('the platform', () => {
  test('is described by fn status, and is healthy by fn doctor', async () => {
    const status = await stoke.json<{ ready: boolean; supervisor: { pid: number; processes: { name: string }[] } }>([
      'status',
    ]);
    expect(status).toMatchObject({ ready: true, supervisor: { pid: stoke.supervisorPid, state: 'ready' } });
    expect(status.supervisor.processes.map(({ name }) => name)).toEqual([
      'redis-durable',
      'redis-volatile',
      'daemon',
      'gateway',
      'worker',
    ]);
    expect((await fn('status')).stdout).toContain(`gateway ${stoke.url}: ready`);
    expect(await stoke.json(['doctor'])).toMatchObject({ healthy: true, running: stoke.supervisorPid, leftovers: [] });
  });

  test('runs gateway, worker and Redis without root, and its containers under uids of their own', async () => {
    await stoke.deploy('fresh');
    await call(`${stoke.url}/fn/fresh`);
    const uids = (pid: number) =>
      /^Uid:\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    for (const name of ['redis-durable', 'redis-volatile', 'gateway', 'worker']) {
      const [, ...all] = uids(await stoke.pid(name)) as unknown as string[];
      expect([name, all.includes('0')]).toEqual([name, false]);
    }
    const containers = findContainerGroups(stoke.config).flatMap(({ pids }) => pids);
    expect(containers.length).toBeGreaterThan(0);
    for (const pid of containers) {
      const [, ...all] = uids(pid) as unknown as string[];
      expect(Number(all[0])).toBeGreaterThanOrEqual(stoke.config.uidBase);
      expect(new Set(all).size).toBe(1);
    }
  });

  test('starts detached, says so when it is ready, and is ended by fn down', async () => {
    const other = await Installation.create();
    try {
      const up = await other.fn(['up', '--detach', '--json']);
      expect(up).toMatchObject({ exitCode: 0 });
      const { event, url, pid } = JSON.parse(up.stdout);
      expect(event).toBe('ready');
      expect((await call(`${url}/readyz`)).status).toBe(200);
      expect(await other.json(['status'])).toMatchObject({ ready: true, supervisor: { pid } });
      expect(await other.fn(['down'])).toMatchObject({ exitCode: 0, stdout: `stopped (it was pid ${pid})\n` });
      expect(findTraces(other.config)).toEqual([]);
      expect(await other.fn(['down'])).toMatchObject({ exitCode: 0 });
      const status = await other.fn(['status']);
      expect(status).toMatchObject({ exitCode: 1, stdout: '' });
      expect(status.stderr).toMatch(/^error: nothing runs on .*\n {2}start it with: fn up/);
    } finally {
      await other.stop();
    }
  });

  test('keeps functions from one run to the next, and their versions answer', async () => {
    await stoke.down();
    await stoke.up();
    expect((await call(`${stoke.url}/fn/fresh`)).text).toBe('a fresh instance');
  });
});

describe('fn start', () => {
  test('--once deploys a first function, calls it cold and warm, and ends with 0 and nothing left', async () => {
    const other = await Installation.create();
    try {
      const once = await other.fn(['start', '--once', '--json']);
      expect(once).toMatchObject({ exitCode: 0 });
      const events = once.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      const { sample } = events.find((event) => 'sample' in event);
      expect(sample).toMatchObject({ kind: 'called', name: 'hello', calls: [{ start: 'cold' }, { start: 'warm' }] });
      expect(findTraces(other.config)).toEqual([]);
      // Again, with the function that is there now.
      const again = await other.fn(['start', '--once']);
      expect(again).toMatchObject({ exitCode: 0 });
      expect(again.stdout).toMatch(/hello is deployed; GET .*\n {2}cold start, .*"greeting"/);
      expect(findTraces(other.config)).toEqual([]);
    } finally {
      await other.stop();
    }
  });

  test('ends with 1 and a reason when it cannot start', async () => {
    const refused = await fn('start', '--once');
    expect(refused).toMatchObject({ exitCode: 1 });
    expect(refused.stderr).toMatch(/runs it already/);
  });
});

test('a variable that is wrong is named with what it expects, with exit code 2', async () => {
  const wrong = await stoke.fn(['up'], { env: { STOKE_LISTEN: 'nowhere', STOKE_MAX_BODY: '6 potatoes' } });
  expect(wrong).toMatchObject({ exitCode: 2, stdout: '' });
  expect(wrong.stderr).toMatch(/STOKE_LISTEN: "nowhere": expected host:port/);
  expect(wrong.stderr).toMatch(/STOKE_MAX_BODY: .*potatoes/);
});
