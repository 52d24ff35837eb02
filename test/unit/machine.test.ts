import { expect, test } from 'vitest';
import { type Check, checkMachine, checkPrograms, type Machine } from '../../services/platform/machine.mjs';

const cgroup1 = ['cpu', 'memory', 'pids', 'freezer']
  .map((name) => `cgroup /sys/fs/cgroup/${name} cgroup rw,relatime,${name} 0 0`)
  .join('\n');
const cgroup2 = 'cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nsdelegate 0 0';

const good: Machine = {
  platform: 'linux',
  architecture: 'x64',
  kernel: '6.1.0-30-amd64',
  glibc: true,
  uid: 0,
  status: 'Name:\tnode\nCapEff:\t000001ffffffffff\n',
  mounts: cgroup2,
  cgroup2Controllers: 'cpuset cpu io memory pids\n',
  seccompActions: 'kill_process kill_thread trap errno user_notif trace log allow\n',
  sandboxFailure: null,
  node: '18.0.0',
  programs: ['redis-server', 'nft', 'ip', 'setpriv'],
  redisVersion: 'Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1',
  redisNeeded: true,
  user: 'stoke',
  userExists: true,
};

function missing(differences: Partial<Machine>): Check[] {
  const machine = { ...good, ...differences };
  return [...checkMachine(machine), ...checkPrograms(machine)].filter(({ state }) => state === 'missing');
}

test('a machine with all it takes lacks nothing, on either version of cgroups', () => {
  expect(missing({})).toEqual([]);
  expect(missing({ mounts: cgroup1, cgroup2Controllers: '' })).toEqual([]);
});

test('on version 1 machines that mount an empty version 2, version 1 counts', () => {
  const mounts = `${cgroup1}\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0`;
  expect(missing({ mounts, cgroup2Controllers: '' })).toEqual([]);
});

test.each<[string, Partial<Machine>, RegExp, RegExp]>([
  ['another system', { platform: 'darwin' }, /darwin/, /Linux machine/],
  ['an old kernel', { kernel: '4.19.0-27-amd64' }, /4\.19/, /5\.10 or newer/],
  ['another processor', { architecture: 'ia32' }, /ia32/, /x86-64 or arm64/],
  ['another C library', { glibc: false }, /no glibc/, /GNU C library/],
  ['an old Node', { node: '16.20.2' }, /16\.20\.2/, /Node 18/],
  ['a user that is not root', { uid: 1000 }, /uid 1000/, /sudo/],
  ['root without privilege', { status: 'CapEff:\t00000000a80425fb\n' }, /CAP_NET_ADMIN, CAP_SYS_ADMIN/, /--privileged/],
  ['no overlayfs', { sandboxFailure: 'mount: unknown filesystem type' }, /unknown filesystem/, /modprobe overlay/],
  ['no memory controller', { cgroup2Controllers: 'cpu pids' }, /controller memory/, /cgroup_enable=memory/],
  [
    'no freezer',
    { mounts: cgroup1.replaceAll('freezer', 'blkio'), cgroup2Controllers: '' },
    /controller freezer/,
    /mount/,
  ],
  ['no cgroups at all', { mounts: '', cgroup2Controllers: '' }, /cpu, memory, pids/, /mount -t cgroup2/],
  ['read-only cgroups', { mounts: cgroup2.replace('rw', 'ro') }, /read-only/, /--privileged/],
  ['no seccomp filters', { seccompActions: '' }, /no filters/, /CONFIG_SECCOMP_FILTER/],
  ['no nft', { programs: ['redis-server', 'ip', 'setpriv'] }, /not on PATH/, /apt-get install nftables/],
  ['an old Redis', { redisVersion: 'Redis server v=6.0.16 sha=0' }, /6\.0\.16/, /6\.2 or newer/],
  ['no user', { userExists: false, user: 'fn' }, /no "fn"/, /useradd --system .* fn$/],
])('%s is named with how to get what is missing', (_, differences, found, remedy) => {
  const checks = missing(differences);
  expect(checks).toHaveLength(1);
  expect(checks[0]?.found).toMatch(found);
  expect(checks[0]?.remedy).toMatch(remedy);
});

test('Redis 6.2 and Valkey are new enough', () => {
  expect(missing({ redisVersion: 'Redis server v=6.2.0 sha=0' })).toEqual([]);
  expect(missing({ redisVersion: 'Valkey server v=8.0.1 sha=0' })).toEqual([]);
});

test('without an embedded Redis none is needed', () => {
  expect(missing({ programs: ['nft', 'ip', 'setpriv'], redisVersion: '', redisNeeded: false })).toEqual([]);
});

test('favordynmods is advice and no requirement', () => {
  const advice = (machine: Machine) => checkMachine(machine).filter(({ state }) => state === 'advice');
  expect(advice(good)).toMatchObject([{ name: 'cgroup attach', remedy: expect.stringContaining('favordynmods') }]);
  expect(advice({ ...good, mounts: cgroup2.replace('nsdelegate', 'favordynmods') })).toEqual([]);
});
