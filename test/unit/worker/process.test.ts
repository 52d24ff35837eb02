/** The worker as a process: its beginning, its user, its end; and a queue whose Redis goes away. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually, startHarness } from './harness.ts';

let folder: string;
let child: ChildProcess;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'stoke-worker-'));
  // The sockets of the others are looked for by an unprivileged user.
  chmodSync(folder, 0o755);
  const main = new URL('../../../services/worker/main.ts', import.meta.url).pathname;
  child = spawn(process.execPath, [main], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    env: {
      STOKE_HOME: join(folder, 'home'),
      STOKE_RUN: folder,
      STOKE_NODE: 'own',
      STOKE_USER: 'nobody',
      STOKE_READY_FD: '3',
    },
  });
  const [ready] = (await once(child.stdio[3] as NodeJS.ReadableStream, 'data')) as [Buffer];
  expect(JSON.parse(ready.toString())).toMatchObject({ node: 'own' });
});
afterEach(() => {
  child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

test('without Redis, daemon and gateway it is ready, says once what is missing, and ends in order', async () => {
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  expect(existsSync(join(folder, 'instances.sock'))).toBe(true);
  await eventually(() => said.includes('no gateway') && said.includes('no session') && said.includes('redis'), said);
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
  for (const words of ['no gateway', 'no session with the daemon'])
    expect(said.split('\n').filter((line) => line.includes(words))).toHaveLength(1);
});

test.skipIf(process.getuid?.() !== 0)('it gives root away once its socket is bound (needs root)', () => {
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  const uid = Number(/^nobody:[^:]*:(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'))?.[1]);
  expect(status).toMatch(new RegExp(`^Uid:\\t${uid}\\t${uid}\\t${uid}\\t${uid}$`, 'm'));
  expect(status).toMatch(/^CapEff:\t0+$/m);
  expect(status).toMatch(/^Groups:\s*$/m);
});

test('a call that comes after a restart of Redis is served', async () => {
  const harness = await startHarness();
  try {
    await harness.deploy('steady');
    await (await harness.gateway.call({ function: 'steady' })).done;
    await harness.restartRedis();
    // Records and queue lie in the same one here; those of the platform lie in a durable one.
    await harness.deploy('steady');
    const { started, error } = await (await harness.gateway.call({ function: 'steady' })).done;
    expect({ error, start: started[0]?.start }).toEqual({ error: undefined, start: 'warm' });
  } finally {
    await harness.close();
  }
});
