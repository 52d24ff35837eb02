/** Containers on the kernel: what they see, what they may not, how they end, and that nothing stays behind. */
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContainerLab, type Subject } from '../support/container-lab.ts';

let lab: ContainerLab;
beforeAll(async () => {
  lab = await ContainerLab.open();
});
afterAll(() => lab.close());

/** The error code that a statement gets, or what it returned. */
const attempt = (statement: string) =>
  `try { return await (async () => { ${statement} })() ?? 'done' } catch (e) { return e.code }`;

describe('inside a container', () => {
  let subject: Subject;
  beforeAll(async () => {
    subject = await lab.start();
  });

  it('there is the image, a root that only root writes to, and a /tmp of its own', async () => {
    expect(await subject.run("return require('fs').readdirSync('/').sort()")).toEqual([
      'dev',
      'etc',
      'proc',
      'sys',
      'tmp',
      'var',
    ]);
    expect(await subject.run("return require('fs').readFileSync('/etc/hostname', 'utf8')")).toBe('image\n');
    expect(await subject.run(attempt("require('fs').writeFileSync('/new', '')"))).toBe('EACCES');
    expect(await subject.run(attempt("require('fs').writeFileSync('/tmp/new', '')"))).toBe('done');
    const other = await lab.start();
    expect(await other.run("return require('fs').readdirSync('/tmp')")).toEqual([]);
  });

  it('/tmp ends at its size', async () => {
    const small = await lab.start({ rootfs: { layers: [lab.image], tmpBytes: 1 << 20, scratchBytes: 1 << 20 } });
    expect(await small.run(attempt("require('fs').writeFileSync('/tmp/big', Buffer.alloc(2 << 20))"))).toBe('ENOSPC');
  });

  it('only its own processes are there', async () => {
    const pids = await subject.run<string[]>(
      "return require('fs').readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))",
    );
    expect(pids).toEqual(['1']);
    expect(await subject.run(attempt(`process.kill(${process.pid}, 0)`))).toBe('ESRCH');
  });

  it('the user is unprivileged, without capabilities, behind a filter, for good', async () => {
    const status = await subject.run<string>("return require('fs').readFileSync('/proc/self/status', 'utf8')");
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      expect(status).toMatch(new RegExp(`${set}:\\s+0{16}\\n`));
    expect(status).toMatch(/NoNewPrivs:\s+1/);
    expect(status).toMatch(/Seccomp:\s+2/);
    expect(status).toMatch(/Groups:\s*\n/);
    const uids = /Uid:\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)/.exec(status)?.slice(1);
    expect(new Set(uids).size).toBe(1);
    expect(Number(uids?.[0])).toBeGreaterThanOrEqual(300_000);
  });

  it('two containers have different users', async () => {
    const other = await lab.start();
    const uid = 'return process.getuid()';
    expect(await other.run(uid)).not.toBe(await subject.run(uid));
  });

  it.each([
    '/proc/sysrq-trigger',
    '/proc/sys/kernel/core_pattern',
    '/proc/self/oom_score_adj',
    '/sys/kernel/mm/ksm/run',
    '/sys/kernel/uevent_helper',
  ])('nothing is written to %s', async (path) => {
    const result = await subject.run(attempt(`require('fs').writeFileSync('${path}', '0', { flag: 'r+' })`));
    expect(['EROFS', 'EACCES', 'ENOENT', 'EPERM']).toContain(result);
  });

  it('what tells about the machine is hidden', async () => {
    expect(await subject.run("return require('fs').readFileSync('/proc/keys', 'utf8')")).toBe('');
    expect(await subject.run(attempt("return require('fs').readdirSync('/sys/firmware')"))).toEqual([]);
  });

  it('of the network there is a loopback that is up, and no way out', async () => {
    expect(await subject.run("return Object.keys(require('os').networkInterfaces())")).toEqual(['lo']);
    const outside = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => outside.on('listening', resolve));
    const { port } = outside.address() as { port: number };
    const connect = (target: string) =>
      attempt(
        `await new Promise((done, fail) => require('net').connect(${target}).on('connect', done).on('error', fail))`,
      );
    expect(await subject.run(connect(`${port}, '127.0.0.1'`))).toBe('ECONNREFUSED');
    expect(await subject.run(connect("80, '192.0.2.1'"))).toBe('ENETUNREACH');
    outside.close();
  });

  it("the host's sockets and mounts are out of reach", async () => {
    expect(await subject.run(attempt(`return require('fs').readdirSync('${lab.directory}')`))).toBe('ENOENT');
    const mounts = await subject.run<string>("return require('fs').readFileSync('/proc/self/mounts', 'utf8')");
    expect(
      mounts.split('\n').filter((line) => !/^(overlay|proc|sysfs|tmpfs|$)/.test(line.split(' ')[0] ?? '')),
    ).toEqual([]);
  });

  it('its own control group is the root of what it sees', async () => {
    const groups = await subject.run<string>("return require('fs').readFileSync('/proc/self/cgroup', 'utf8')");
    for (const line of groups.trim().split('\n')) expect(line).toMatch(/:\/$/);
  });
});

describe('limits', () => {
  it('memory: the kernel ends it, and the end says so with figures', async () => {
    const subject = await lab.start({ limits: { memoryBytes: 48 << 20 } });
    subject.run('const kept = []; for (;;) kept.push(Buffer.alloc(1 << 20, 1))').catch(() => undefined);
    const end = await lab.ended(subject.id);
    expect(end).toMatchObject({ signal: 'SIGKILL', outOfMemory: true, memoryLimitBytes: 48 << 20 });
    if (end.memoryPeakBytes !== null) expect(end.memoryPeakBytes).toBeGreaterThan(40 << 20);
  });

  it('garbage alone does not end it: the collector keeps up within a small limit', async () => {
    const subject = await lab.start({ limits: { memoryBytes: 64 << 20 } });
    const code =
      'let n = 0; for (let i = 0; i < 3000; i++) { n += JSON.parse(JSON.stringify(Array(10000).fill({ a: i }))).length } return n';
    expect(await subject.run(code)).toBe(30_000_000);
  });

  it('processes: a fork bomb stops at its limit and goes with the container', async () => {
    const bomb = 'while :; do sleep 60 & done';
    const subject = await lab.startProgram(['sh', '-c', `sh -c '${bomb}'; exec sleep 60`], { limits: { pids: 20 } });
    await expect.poll(() => subject.output[2]).toContain("can't fork");
    // The shell that could not fork is gone; what it started is there.
    expect(lab.containers.stats(subject.id).pids).toBeGreaterThanOrEqual(18);
    expect(lab.containers.stats(subject.id).pids).toBeLessThanOrEqual(20);
    await lab.containers.remove(subject.id);
  });

  it('open files', async () => {
    const subject = await lab.start({ openFiles: 64 });
    expect(await subject.run(attempt("for (;;) require('fs').openSync('/dev/null')"))).toBe('EMFILE');
  });
});

describe('a start that fails', () => {
  it('names the step, and leaves nothing', async () => {
    const options = lab.options({ rootfs: { layers: ['/no/such/layer'], tmpBytes: 1 << 20, scratchBytes: 1 << 20 } });
    await expect(lab.containers.start(options, lab.zygote)).rejects.toMatchObject({
      code: 'start_failed',
      message: expect.stringContaining('overlay'),
    });
    expect(lab.containers.list().map(({ id }) => id)).not.toContain(options.id);
  });

  it('of an id that exists is refused, and the first one goes on', async () => {
    const subject = await lab.start();
    await expect(lab.containers.start(lab.options({ id: subject.id }), lab.zygote)).rejects.toMatchObject({
      code: 'container_exists',
    });
    expect(await subject.run('return 1 + 1')).toBe(2);
  });

  it('whose socket does not answer is an error that says so', async () => {
    const connections = [{ socket: `${lab.directory}/run/nobody.sock`, as: 'control', greeting: '' }] as const;
    await expect(lab.containers.start(lab.options({ connections }), lab.zygote)).rejects.toThrow(/connect .*ENOENT/);
  });
});

describe('removal', () => {
  it('ends a container that does not listen, and shares the work of concurrent calls', async () => {
    const subject = await lab.start();
    subject.run('for (;;);').catch(() => undefined);
    const [first, second] = await Promise.all([lab.containers.remove(subject.id), lab.containers.remove(subject.id)]);
    expect(first).toBe(second);
    expect(first).toMatchObject({ signal: 'SIGKILL', outOfMemory: false });
    await expect(async () => lab.containers.remove(subject.id)).rejects.toMatchObject({ code: 'container_not_found' });
  });

  it('while it starts waits for the start and leaves nothing', async () => {
    const options = lab.options();
    const started = lab.containers.start(options, lab.zygote);
    const outcome = Promise.allSettled([started]);
    await lab.containers.remove(options.id);
    await outcome;
    expect(lab.containers.list().map(({ id }) => id)).not.toContain(options.id);
  });
});
