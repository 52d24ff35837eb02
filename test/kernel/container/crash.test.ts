/** What is left when the daemon or a zygote is killed, and what becomes of it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Cgroup } from '../../../runtime/cgroup/cgroup.ts';
import { processStartTicks } from '../../../runtime/container/store.ts';
import { ContainerLab } from '../support/container-lab.ts';

let lab: ContainerLab;
beforeEach(async () => {
  lab = await ContainerLab.open();
});
afterEach(() => lab.close());

const exists = (pid: number) => processStartTicks(pid) !== undefined;

describe('a daemon killed with a container running', () => {
  async function killedDaemon(): Promise<{ id: string; pid: number; zygote: number }> {
    const options = lab.options();
    const keeper = {
      directory: join(lab.directory, 'run/zygotes'),
      config: {
        agent: join(import.meta.dirname, '../support/probe-agent.ts'),
        binds: [lab.directory, ...lab.hierarchy.directories],
        spareNetworks: 1,
      },
    };
    const records = join(lab.directory, 'run/containers');
    const task = JSON.stringify({ hierarchy: lab.hierarchy, records, keeper, options });
    const daemon = spawn(process.execPath, [join(import.meta.dirname, 'survivor.ts'), task], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(daemon.stdout, 'data')) as [Buffer];
    daemon.kill('SIGKILL');
    await once(daemon, 'exit');
    return { id: options.id, ...(JSON.parse(line.toString()) as { pid: number; zygote: number }) };
  }

  it('leaves the container alive and the zygote gone; the next one adopts it, and can remove it', async () => {
    const left = await killedDaemon();
    await expect.poll(() => exists(left.zygote)).toBe(false);
    expect(exists(left.pid)).toBe(true);

    expect(await lab.containers.reconcile()).toMatchObject({ adopted: [left.id], removed: [] });
    expect(lab.containers.list()).toMatchObject([{ id: left.id, pid: left.pid, state: 'running' }]);
    expect(await lab.containers.remove(left.id)).toMatchObject({ id: left.id, outOfMemory: false });
    await expect.poll(() => exists(left.pid)).toBe(false);
    removeDeadZygoteFolders();
  });

  it('whose container ended in the meantime: the next one removes what is left of it', async () => {
    const left = await killedDaemon();
    process.kill(left.pid, 'SIGKILL');
    await expect.poll(() => exists(left.pid)).toBe(false);
    expect(await lab.containers.reconcile()).toMatchObject({ adopted: [], removed: [left.id] });
    removeDeadZygoteFolders();
  });

  it('tells the end of an adopted container that ends by itself', async () => {
    const left = await killedDaemon();
    await lab.containers.reconcile();
    process.kill(left.pid, 'SIGKILL');
    expect(await lab.ended(left.id)).toMatchObject({ id: left.id, code: null, signal: null });
    await lab.containers.remove(left.id);
    removeDeadZygoteFolders();
  });

  /** Those of the killed daemon; the start of the real one empties the folder. */
  function removeDeadZygoteFolders(): void {
    const folder = join(lab.directory, 'run/zygotes');
    const living = readFileSync(`/proc/${lab.zygote.pid}/cmdline`, 'utf8');
    for (const name of readdirSync(folder)) if (!living.includes(name)) rmSync(join(folder, name), { recursive: true });
  }
});

describe('a container that cannot be recorded', () => {
  it('serves all the same, and the daemon goes on', async () => {
    const records = join(lab.directory, 'run/containers');
    rmSync(records, { recursive: true });
    const subject = await lab.start();
    await expect.poll(() => lab.unrecorded).toEqual([subject.id]);
    expect(await subject.run('return 1 + 1')).toBe(2);
    mkdirSync(records);
  });
});

describe('reconciliation', () => {
  it('removes a control group without a record, with the processes in it', async () => {
    const cgroup = new Cgroup(lab.hierarchy, 'stray');
    cgroup.create();
    const child = spawn('sleep', ['60']);
    for (const parent of lab.hierarchy.directories) writeFileSync(`${parent}/stray/cgroup.procs`, String(child.pid));
    const exit = once(child, 'exit');
    expect(await lab.containers.reconcile()).toEqual({ adopted: [], removed: [], strayGroups: 1 });
    expect((await exit)[1]).toBe('SIGKILL');
  });

  it('does not take a recycled pid for the container', async () => {
    const records = join(lab.directory, 'run/containers');
    mkdirSync(records, { recursive: true });
    const record = {
      format: 1,
      id: 'old',
      owner: 'lab',
      image: 'i',
      cgroup: 'old',
      pid: process.pid,
      startTicks: 1,
      uid: 1,
      memoryBytes: 1,
      createdAtMs: 1,
    };
    writeFileSync(join(records, 'old.json'), JSON.stringify(record));
    writeFileSync(join(records, 'torn.json'), '{"format":1,"id');
    expect(await lab.containers.reconcile()).toMatchObject({ adopted: [], removed: ['old'] });
    expect(existsSync(join(records, 'torn.json'))).toBe(false);
  });
});

describe('a zygote that is killed', () => {
  it('takes no container with it, and the starts it did not get to are made by the next', async () => {
    const before = await lab.start();
    process.kill(lab.zygote.pid as number, 'SIGSTOP');
    const starts = Array.from({ length: 50 }, () => lab.start());
    process.kill(lab.zygote.pid as number, 'SIGKILL');
    const after = await Promise.all(starts);
    expect(await Promise.all(after.map((subject) => subject.run('return process.pid')))).toEqual(Array(50).fill(1));
    expect(await before.run("return 'still here'")).toBe('still here');
  });

  it('again and again fails a start with a clear error', async () => {
    const first = lab.zygote.pid as number;
    process.kill(first, 'SIGSTOP');
    const start = lab.start();
    process.kill(first, 'SIGKILL');
    for (let killed = first, round = 0; round < 2; round++) {
      await expect.poll(() => lab.zygote.pid !== killed).toBe(true);
      killed = lab.zygote.pid as number;
      process.kill(killed, 'SIGKILL');
    }
    await expect(start).rejects.toMatchObject({ code: 'zygote_failed' });
    await lab.zygote.ready();
  });
});
