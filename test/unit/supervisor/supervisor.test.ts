import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readSupervisorStatus, requestShutdown } from '../../../services/cli/supervisor/control.ts';
import { explainFailure } from '../../../services/cli/supervisor/explain.ts';
import { LockedError } from '../../../services/cli/supervisor/lock.ts';
import { GaveUpError } from '../../../services/cli/supervisor/managed-process.ts';
import { type ProcessSpec, processTable } from '../../../services/cli/supervisor/process-table.ts';
import { ShutdownError, Supervisor } from '../../../services/cli/supervisor/supervisor.ts';
import { readStartTime, waitUntilGone } from '../../../services/cli/supervisor/survivors.ts';
import { fakeGateway, Installation, script, self } from './fixture.ts';

/** The supervisor gives folders and processes to other users, which only root can; without root these are skipped. */
const isRoot = process.getuid?.() === 0;
let installation: Installation;
const running = new Set<Supervisor>();

beforeEach(() => {
  installation = new Installation();
});

afterEach(async () => {
  for (const supervisor of running) {
    supervisor.shutdown('the test is over');
    await supervisor.ended();
  }
  running.clear();
  installation.remove();
});

function supervise(stages: ProcessSpec[][], config = installation.config()): Supervisor {
  const supervisor = new Supervisor({ config, user: self, stages, onEvent: installation.onEvent });
  running.add(supervisor);
  return supervisor;
}

function redisStage(): ProcessSpec[] {
  const config = installation.config();
  const table = processTable(config, { root: '/', node: process.execPath, environment: process.env, user: self });
  return table[0] as ProcessSpec[];
}

const worker = script('worker', 'ready();');

test.runIf(isRoot)(
  'starts stage by stage, says where the gateway is, and stops the gateway first, then stage by stage back',
  async () => {
    const supervisor = supervise([redisStage(), [script('daemon', 'ready();')], [fakeGateway], [worker]]);
    const url = await supervisor.start();
    expect((await fetch(url)).status).toBe(200);
    expect(JSON.parse(installation.read('run/gateway.json'))).toEqual({ url });
    expect(supervisor.status()).toMatchObject({ state: 'ready', url });
    const pids = supervisor.status().processes.map((each) => ({
      pid: each.pid as number,
      startTime: readStartTime(each.pid as number) as string,
    }));

    supervisor.shutdown('enough');
    await supervisor.ended();
    const order = installation.events.flatMap((event) => (event.event === 'exited' ? [event.name] : []));
    expect(order.slice(0, 3)).toEqual(['gateway', 'worker', 'daemon']);
    expect(order.slice(3).toSorted()).toEqual(['redis-durable', 'redis-volatile']);
    expect(await waitUntilGone(pids, 0)).toBe(true);
    expect(existsSync(installation.path('run'))).toBe(false);
    expect(installation.read('home/logs/worker.log')).toContain('ended worker');
  },
);

test.runIf(isRoot)('makes folders that only their owners may write', async () => {
  await supervise([[fakeGateway]]).start();
  const modes = ['home', 'home/redis', 'home/logs', 'home/logs/functions', 'run', 'run/redis'].map((path) =>
    (statSync(installation.path(path)).mode & 0o777).toString(8),
  );
  expect(modes).toEqual(['751', '700', '750', '750', '750', '700']);
});

test.runIf(isRoot)('starts a killed process again at once, on the port it had', async () => {
  const supervisor = supervise([[fakeGateway]]);
  const url = await supervisor.start();
  const pid = supervisor.status().processes[0]?.pid as number;
  const seen = installation.events.length;
  const killedAt = performance.now();
  process.kill(pid, 'SIGKILL');
  const exited = await installation.nextEvent(({ event }) => event === 'exited', seen);
  expect(exited).toMatchObject({ exit: { signal: 'SIGKILL' }, expected: false });
  const ready = await installation.nextEvent(({ event }) => event === 'ready', seen);
  expect(performance.now() - killedAt).toBeLessThan(3_000);
  expect(ready).not.toMatchObject({ pid });
  expect((await fetch(url)).status).toBe(200);
  expect(supervisor.status().processes[0]).toMatchObject({ state: 'ready', restarts: 1 });
});

test.runIf(isRoot)('gives up on a process that never becomes ready, and stops everything', async () => {
  const broken = script('daemon', `log({ level: 60, msg: 'no zygote' }); process.exit(1);`);
  const supervisor = supervise([[script('first', 'ready();')], [broken]]);
  const error = await supervisor.start().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(GaveUpError);
  expect(String(explainFailure(error, installation.config()))).toMatch(
    /daemon does not start: exit code 1\n {2}no zygote/,
  );
  const exits = installation.events.flatMap((event) => (event.event === 'exited' ? [event.name] : []));
  expect(exits).toEqual(['daemon', 'daemon', 'daemon', 'first']);
});

test.runIf(isRoot)('names the address that another process has, after one attempt', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as { port: number };
  const config = installation.config({ STOKE_LISTEN: `127.0.0.1:${port}` });
  const gateway = { ...fakeGateway, env: { ...fakeGateway.env, STOKE_LISTEN: `127.0.0.1:${port}` } };
  const error = await supervise([[gateway]], config)
    .start()
    .catch((reason: unknown) => reason);
  other.close();
  const explained = explainFailure(error, config);
  expect(explained).toMatchObject({
    code: 'address_in_use',
    message: `the gateway cannot listen on 127.0.0.1:${port}: another process does`,
    remedy: expect.stringContaining('STOKE_LISTEN='),
  });
  expect(installation.events.filter(({ event }) => event === 'exited')).toHaveLength(1);
});

test.runIf(isRoot)('refuses a second supervisor on the same home and names the first', async () => {
  await supervise([[fakeGateway]]).start();
  const second = supervise([[fakeGateway]]);
  const error = await second.start().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(LockedError);
  expect(explainFailure(error, installation.config())).toMatchObject({
    code: 'already_running',
    message: expect.stringContaining(`process ${process.pid} runs it already`),
  });
  expect(existsSync(installation.path('run/gateway.json'))).toBe(true);
});

test.runIf(isRoot)('refuses a run folder that another home uses', async () => {
  await supervise([[fakeGateway]]).start();
  const config = installation.config({ STOKE_HOME: installation.path('other-home') });
  await expect(supervise([[fakeGateway]], config).start()).rejects.toMatchObject({ path: config.run });
});

test.runIf(isRoot)('ends a start that is no longer wanted', async () => {
  const supervisor = supervise([[script('daemon', '')], [fakeGateway]]);
  const started = supervisor.start();
  started.catch(() => undefined);
  await installation.nextEvent(({ event }) => event === 'started');
  supervisor.shutdown('SIGINT');
  await expect(started).rejects.toBeInstanceOf(ShutdownError);
  expect(installation.events.some((event) => event.event === 'started' && event.name === 'gateway')).toBe(false);
});

test.runIf(isRoot)('kills a process that does not end in time, at once when there is hurry', async () => {
  const stubborn = script('daemon', `process.removeAllListeners('SIGTERM'); process.on('SIGTERM', () => {}); ready();`);
  const supervisor = supervise([[{ ...stubborn, stopMs: 60_000 }], [fakeGateway]]);
  await supervisor.start();
  supervisor.shutdown('SIGINT');
  await installation.nextEvent((event) => event.event === 'exited' && event.name === 'gateway');
  await installation.nextEvent((event) => event.event === 'exited' && event.name === 'gateway');
  supervisor.hurry();
  await supervisor.ended();
  expect(installation.events.at(-1)).toMatchObject({ event: 'exited', name: 'daemon', exit: { signal: 'SIGKILL' } });
});

test.runIf(isRoot)('answers on its control socket and shuts down when asked there', async () => {
  const supervisor = supervise([[fakeGateway], [worker]]);
  await supervisor.start();
  const { sockets } = installation.config();
  expect(statSync(sockets.supervisor).mode & 0o777).toBe(0o600);
  expect(await readSupervisorStatus(sockets.supervisor)).toMatchObject({
    pid: process.pid,
    state: 'ready',
    processes: [
      { name: 'gateway', state: 'ready', restarts: 0, lastExit: null },
      { name: 'worker', state: 'ready' },
    ],
  });
  expect(await requestShutdown(sockets.supervisor)).toBe(true);
  await supervisor.ended();
  expect(await readSupervisorStatus(sockets.supervisor)).toBeUndefined();
});

test.runIf(isRoot)('ends the processes of a supervisor that was killed before it starts its own', async () => {
  const first = spawn(process.execPath, [
    '--disable-warning=ExperimentalWarning',
    new URL('./killed-supervisor.ts', import.meta.url).pathname,
    installation.folder,
  ]);
  first.stderr.pipe(process.stderr);
  const [line] = (await once(first.stdout, 'data')) as [Buffer];
  const pids = JSON.parse(line.toString()) as { name: string; pid: number }[];
  const before = pids.map(({ pid }) => ({ pid, startTime: readStartTime(pid) as string }));
  first.kill('SIGKILL');
  await once(first, 'exit');

  await supervise([redisStage(), [fakeGateway]]).start();
  expect(await waitUntilGone(before, 0)).toBe(true);
});
