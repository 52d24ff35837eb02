/** Control groups on the machine's own kernel: v1 or v2, whichever it has. `npm run test:cgroup2` runs this on v2. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Cgroup } from '../../../runtime/cgroup/cgroup.ts';
import { type CgroupHierarchy, listGroups, openHierarchy } from '../../../runtime/cgroup/hierarchy.ts';

const limits = { memoryBytes: 64 << 20, cpu: 0.2, pids: 16 };
let hierarchy: CgroupHierarchy;
let count = 0;
const open: Cgroup[] = [];

beforeAll(() => {
  hierarchy = openHierarchy(`stoke-cgroup-test-${process.pid}`);
});
afterEach(async () => {
  for (const cgroup of open.splice(0)) await cgroup.remove();
});
afterAll(() => {
  for (const directory of hierarchy.directories) rmdirSync(directory);
});

function create(overrides: Partial<typeof limits> = {}): Cgroup {
  const cgroup = new Cgroup(hierarchy, `g${++count}`);
  cgroup.create();
  cgroup.limit({ ...limits, ...overrides });
  open.push(cgroup);
  return cgroup;
}

/** A process in the group, moved there from outside before it does anything. */
async function inside(cgroup: Cgroup, code: string): Promise<ChildProcess> {
  const child = spawn(
    process.execPath,
    ['-e', `process.stdin.once('data', () => { ${code} }); process.stdout.write('up')`],
    {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: {},
    },
  );
  await once(child.stdout as NodeJS.ReadableStream, 'data');
  for (const parent of hierarchy.directories) writeFileSync(`${parent}/${cgroup.name}/cgroup.procs`, String(child.pid));
  child.stdin?.write('go\n');
  return child;
}

describe('a control group', () => {
  it('limits memory, and tells that the kernel killed for it and how much was used', async () => {
    const cgroup = create();
    const child = await inside(cgroup, 'const kept = []; for (;;) kept.push(Buffer.alloc(4 << 20, 1));');
    const [, signal] = (await once(child, 'exit')) as [number | null, string | null];
    expect(signal).toBe('SIGKILL');
    const stats = cgroup.stats();
    expect(stats.oomKills).toBeGreaterThan(0);
    if (stats.memoryPeakBytes !== null) {
      expect(stats.memoryPeakBytes).toBeGreaterThan(limits.memoryBytes * 0.9);
      expect(stats.memoryPeakBytes).toBeLessThanOrEqual(limits.memoryBytes);
    }
  });

  it('limits the processor, and tells what was used and how long it was held back', async () => {
    const cgroup = create();
    await inside(cgroup, 'for (;;);');
    const before = cgroup.stats().cpuMicroseconds;
    const since = performance.now();
    // Time is the subject here: the share is what was used of it.
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const share = (cgroup.stats().cpuMicroseconds - before) / 1000 / (performance.now() - since);
    expect(share).toBeLessThan(0.3);
    expect(cgroup.stats().throttledMicroseconds).toBeGreaterThan(0);
  });

  it('limits processes', async () => {
    const cgroup = create({ pids: 14 });
    const code = `const { spawn } = require('node:child_process'); let failed = 0;
      for (let i = 0; i < 20; i++) { try { spawn('/bin/sleep', ['60']).on('error', () => failed++); } catch { failed++; } }
      setInterval(() => { if (failed > 0) process.exit(42); }, 20);`;
    const [status] = (await once(await inside(cgroup, code), 'exit')) as [number | null];
    expect(status).toBe(42);
    expect(cgroup.stats().pids).toBeLessThanOrEqual(14);
  });

  it('freezes and thaws', async () => {
    const cgroup = create({ cpu: 1 });
    const child = await inside(cgroup, "setInterval(() => process.stdout.write('.'), 5)");
    await cgroup.freeze(AbortSignal.timeout(20_000));
    expect(readFileSync(`/proc/${child.pid}/status`, 'utf8')).toMatch(/State:\s+[DS]/);
    const used = cgroup.stats().cpuMicroseconds;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(cgroup.stats().cpuMicroseconds).toBe(used);
    child.stdout?.read();
    cgroup.thaw();
    await once(child.stdout as NodeJS.ReadableStream, 'data');
  });

  it('kills all that is in it, also when it is frozen', async () => {
    for (const frozen of [false, true]) {
      const cgroup = create();
      const child = await inside(cgroup, 'setInterval(() => undefined, 1000)');
      if (frozen) await cgroup.freeze(AbortSignal.timeout(20_000));
      const exit = once(child, 'exit');
      cgroup.kill();
      expect((await exit)[1]).toBe('SIGKILL');
    }
  });

  it('is removed with its processes, and removing it again is not an error', async () => {
    const cgroup = create();
    await inside(cgroup, 'setInterval(() => undefined, 1000)');
    await cgroup.remove();
    expect(cgroup.exists).toBe(false);
    await cgroup.remove();
  });

  it('refuses a name that exists, and leaves that group as it is', () => {
    const cgroup = create();
    expect(() => new Cgroup(hierarchy, cgroup.name).create()).toThrow(/exists already/);
    expect(cgroup.exists).toBe(true);
    expect(listGroups(hierarchy)).toContain(cgroup.name);
  });

  it('has its limits in the files of this version', () => {
    const cgroup = create({ cpu: 1.5 });
    const read = (controller: 'memory' | 'cpu' | 'pids', file: string) =>
      readFileSync(`${hierarchy.parents[controller]}/${cgroup.name}/${file}`, 'utf8').trim();
    expect(read('pids', 'pids.max')).toBe('16');
    if (hierarchy.version === 2) {
      expect(read('memory', 'memory.max')).toBe(String(64 << 20));
      expect(read('cpu', 'cpu.max')).toBe('150000 100000');
    } else {
      expect(read('memory', 'memory.limit_in_bytes')).toBe(String(64 << 20));
      expect(read('cpu', 'cpu.cfs_quota_us')).toBe('150000');
      const memsw = `${hierarchy.parents.memory}/${cgroup.name}/memory.memsw.limit_in_bytes`;
      if (existsSync(memsw)) expect(readFileSync(memsw, 'utf8').trim()).toBe(String(64 << 20));
    }
  });
});
