import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { findBarrier } from '../../../services/cli/supervisor/directories.ts';
import { mountsBelow } from '../../../services/cli/supervisor/leftovers.ts';
import { processTable } from '../../../services/cli/supervisor/process-table.ts';
import { parseConfig } from '../../../services/platform/config.ts';

const user = { name: 'stoke', uid: 999, gid: 995 };

function table(environment: NodeJS.ProcessEnv = {}) {
  return processTable(parseConfig(environment), { root: '/opt/stoke', node: '/opt/node', environment, user });
}

test('Redis comes first and the worker last', () => {
  expect(table().map((stage) => stage.map(({ name }) => name))).toEqual([
    ['redis-durable', 'redis-volatile'],
    ['daemon'],
    ['gateway'],
    ['worker'],
  ]);
});

test('a Redis from elsewhere is not started', () => {
  const names = (environment: NodeJS.ProcessEnv) =>
    table(environment).flatMap((stage) => stage.map(({ name }) => name));
  expect(names({ STOKE_REDIS_URL: 'redis://db' })).toEqual(['redis-volatile', 'daemon', 'gateway', 'worker']);
  expect(names({ STOKE_REDIS_URL: 'redis://a', STOKE_REDIS_VOLATILE_URL: 'redis://b' })[0]).toBe('daemon');
});

test('the durable Redis syncs every write, the volatile one keeps nothing, and both give root away', () => {
  const [durable, volatile] = (table()[0] ?? []).map(({ args }) => args.join(' '));
  expect(durable).toContain('--appendonly yes --appendfsync always');
  expect(volatile).toContain('--appendonly no');
  for (const args of [durable, volatile]) {
    expect(args).toContain('--reuid=999 --regid=995 --clear-groups --pdeathsig TERM -- redis-server --port 0');
  }
});

test('services get only what they need of the environment', () => {
  const environment = {
    PATH: '/bin',
    LANG: 'C.UTF-8',
    STOKE_NODE: 'one',
    STOKE_READY_FD: '3',
    NODE_EXTRA_CA_CERTS: '/etc/ca.crt',
    NODE_OPTIONS: '--inspect',
    AWS_SECRET_ACCESS_KEY: 'secret',
  };
  for (const spec of table(environment).flat()) {
    expect(spec.env).toEqual({ PATH: '/bin', LANG: 'C.UTF-8', STOKE_NODE: 'one' });
  }
});

test('a later life of the gateway listens where the first one did', () => {
  const gateway = table({ STOKE_LISTEN: '127.0.0.1:0' })
    .flat()
    .find(({ name }) => name === 'gateway');
  expect(gateway?.laterEnv?.({ host: '127.0.0.1', port: 4711 })).toEqual({ STOKE_LISTEN: '127.0.0.1:4711' });
  expect(gateway?.laterEnv?.({ host: '::1', port: 4711 })).toEqual({ STOKE_LISTEN: '[::1]:4711' });
});

test('a folder that keeps the user out is found above the home', () => {
  const folder = mkdtempSync(join(tmpdir(), 'stoke-barrier-'));
  const home = join(folder, 'a/home');
  expect(findBarrier(home, user)).toBe(folder);
  chmodSync(folder, 0o755);
  expect(findBarrier(home, user)).toBeUndefined();
  rmSync(folder, { recursive: true });
});

test('mounts inside the home are leftovers, the home itself and its neighbours are not', () => {
  const mounts = ['/var/lib/stoke', '/var/lib/stoke/containers/a', '/var/lib/stoke-2/b', '/']
    .map((path) => `none ${path} tmpfs rw 0 0`)
    .join('\n');
  expect(mountsBelow(mounts, ['/var/lib/stoke'])).toEqual(['/var/lib/stoke/containers/a']);
});
