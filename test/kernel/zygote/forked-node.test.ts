/** What a forked Node process must not share with its siblings, and how it ends. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContainerLab } from '../support/container-lab.ts';

let lab: ContainerLab;
beforeAll(async () => {
  lab = await ContainerLab.open();
});
afterAll(() => lab.close());

describe('a container that stays a Node process', () => {
  it('has randomness of its own: of 1,000 forks no two draw the same', async () => {
    const forks = Number(process.env.STOKE_TEST_FORKS ?? 1000);
    const draw = `const crypto = require('crypto');
      return [Math.random(), Math.random(), crypto.randomUUID(), crypto.randomInt(2 ** 47), globalThis.crypto.randomUUID(),
        crypto.randomBytes(8).toString('hex'), Buffer.from(globalThis.crypto.getRandomValues(new Uint8Array(8))).toString('hex')]`;
    const seen = Array.from({ length: 7 }, () => new Set<unknown>());
    for (let done = 0; done < forks; done += 10) {
      const batch = await Promise.all(Array.from({ length: 10 }, () => lab.start()));
      const drawn = await Promise.all(batch.map((subject) => subject.run<unknown[]>(draw)));
      for (const values of drawn) for (const [index, value] of values.entries()) seen[index]?.add(value);
      await Promise.all(batch.map(({ id }) => lab.containers.remove(id)));
    }
    expect(seen.map(({ size }) => size)).toEqual(Array(7).fill(forks));
  }, 300_000);

  it('draws Math.random evenly from [0, 1)', async () => {
    const subject = await lab.start();
    const counts = await subject.run<number[]>(
      'const c = Array(10).fill(0); for (let i = 0; i < 100000; i++) c[Math.floor(Math.random() * 10)]++; return c',
    );
    expect(counts).toHaveLength(10);
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(600);
  });

  it('has its own pid, environment, working directory and start time', async () => {
    const environment = { GREETING: 'grüß Gott', PATH: '/bin' };
    const subject = await lab.start({ environment });
    const seen = await subject.run<Record<string, unknown>>(
      'return { pid: process.pid, ppid: process.ppid, env: process.env, cwd: process.cwd(), uptime: process.uptime() }',
    );
    expect(seen).toMatchObject({ pid: 1, ppid: 0, env: environment, cwd: '/var/task' });
    expect(seen.uptime).toBeLessThan(30);
  });

  it('has no globals that Node does not have', async () => {
    const subject = await lab.start();
    expect(await subject.run('return typeof gc')).toBe('undefined');
  });

  it('is called by its id in the list of processes', async () => {
    const subject = await lab.start();
    await subject.run('return 0');
    expect(readFileSync(`/proc/${subject.pid}/cmdline`, 'utf8')).toMatch(new RegExp(`^stoke: ${subject.id}\\0`));
  });

  it.each([
    ['process.exit(7)', 7],
    ['process.exitCode = 5; process.exit()', 5],
    ["setImmediate(() => { throw new Error('unhandled') })", 1],
    ["Promise.reject(new Error('unhandled')); await new Promise(() => undefined)", 1],
    ["process.on('exit', () => { process.exitCode = 9 }); process.exit()", 9],
  ])('ends with the right status: %s', async (code, status) => {
    const subject = await lab.start();
    subject.run(code).catch(() => undefined); // it ends instead of answering
    expect(await lab.ended(subject.id)).toMatchObject({ code: status, signal: null });
  });

  it('says on stderr why it ended of an uncaught error', async () => {
    const subject = await lab.start();
    subject.run("setImmediate(() => { throw new Error('on purpose') })").catch(() => undefined);
    await lab.ended(subject.id);
    expect(subject.output[2]).toContain('on purpose');
  });

  it('leaves an uncaught error to a listener of its own', async () => {
    const subject = await lab.start();
    const caught = await subject.run(
      "return new Promise((done) => { process.on('uncaughtException', (e) => done(e.message)); setImmediate(() => { throw new Error('mine') }) })",
    );
    expect(caught).toBe('mine');
  });

  it('tells a signal from an exit status', async () => {
    const subject = await lab.start();
    process.kill(subject.pid, 'SIGKILL');
    expect(await lab.ended(subject.id)).toMatchObject({ code: null, signal: 'SIGKILL', outOfMemory: false });
  });

  it('can use threads, timers, compression, WebAssembly, fetch, and start programs', async () => {
    const subject = await lab.start();
    const seen = await subject.run(`
      const { Worker } = require('worker_threads');
      const zlib = require('zlib'), crypto = require('crypto'), http = require('http'), fs = require('fs');
      const worker = await new Promise((done) => new Worker("require('worker_threads').parentPort.postMessage('ok')", { eval: true }).on('message', done));
      const zipped = await new Promise((done) => zlib.gzip(Buffer.alloc(100000), (_, data) => done(zlib.gunzipSync(data).length)));
      const key = await new Promise((done) => crypto.scrypt('a', 'b', 32, (_, data) => done(data.length)));
      const wasm = await WebAssembly.instantiate(Buffer.from('0061736d01000000', 'hex')).then(() => 'ok');
      await fs.promises.writeFile('/tmp/file', 'text');
      const file = await fs.promises.readFile('/tmp/file', 'utf8');
      const server = http.createServer((_, response) => response.end('served')).listen(0, '127.0.0.1');
      await new Promise((done) => server.on('listening', done));
      const fetched = await (await fetch('http://127.0.0.1:' + server.address().port)).text();
      server.close();
      return { worker, zipped, key, wasm, file, fetched }`);
    expect(seen).toEqual({ worker: 'ok', zipped: 100_000, key: 32, wasm: 'ok', file: 'text', fetched: 'served' });
  });

  it('keeps no descriptor of the zygote but those of its event loop', async () => {
    const subject = await lab.start();
    const targets = await subject.run<string[]>(
      "const fs = require('fs'); return fs.readdirSync('/proc/self/fd').map((fd) => { try { return fs.readlinkSync('/proc/self/fd/' + fd) } catch { return 'gone' } })",
    );
    for (const target of targets) expect(target).toMatch(/^(anon_inode:\[event|pipe:|socket:|\/dev\/null$|gone$)/);
    // stdout, stderr and the control connection; nothing that leads to the daemon.
    expect(targets.filter((target) => target.startsWith('socket:'))).toHaveLength(3);
  });
});

describe('a container that becomes another program', () => {
  it('execs it with its arguments, environment and directory, and passes its status on', async () => {
    const subject = await lab.startProgram(['sh', '-c', 'echo $WHO $(pwd) $$; echo problem >&2; exit 33'], {
      environment: { WHO: 'exec' },
    });
    expect(await lab.ended(subject.id)).toMatchObject({ code: 33 });
    await expect.poll(() => subject.output).toEqual({ 1: 'exec /var/task 1\n', 2: 'problem\n' });
  });
  it('reports a program that is not there as a failed start', async () => {
    const payload = { kind: 'exec', path: '/no/such/program', args: [] } as const;
    const subject = await lab.start({ payload });
    expect(await lab.ended(subject.id)).toMatchObject({ code: 70 });
  });
});
