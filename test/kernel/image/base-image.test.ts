import { execFileSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { expect, test } from 'vitest';
import { digestOf } from '../../../runtime/spec/digest.ts';
import { ensureNodeBaseImage, nodeBaseReference } from '../../../templates/node/base-image.ts';
import { filesOf, scratchStore } from './scratch-store.ts';

const bundle = '/etc/ssl/certs/ca-certificates.crt';
const nodePath = realpathSync(process.execPath);

test('Node runs in the base image and finds users, names and certificates there', async () => {
  await using scratch = await scratchStore();
  const digest = await ensureNodeBaseImage(scratch.store, { nodePath });
  expect(scratch.store.lookup(nodeBaseReference)).toBe(digest);
  const image = await scratch.store.resolve(digest);
  expect(image.config.config).toMatchObject({ WorkingDir: '/var/task', Cmd: ['/usr/local/bin/node'] });
  const root = image.layerDirectories[0] as string;
  const run = (code: string) =>
    execFileSync('/usr/sbin/chroot', [root, '/usr/local/bin/node', '-e', code], { encoding: 'utf8', env: {} }).trim();
  expect(run('console.log(1 + 1)')).toBe('2');
  expect(run('console.log(process.version)')).toBe(process.version);
  expect(run('console.log(os.userInfo().username)')).toBe('root');
  expect(run('dns.lookup("localhost", (_, address) => console.log(address))')).toBe('127.0.0.1');
  expect(run('console.log(fs.readFileSync("/etc/os-release", "utf8").includes("ID=stoke"))')).toBe('true');
  expect(run(`console.log(fs.existsSync("${bundle}"))`)).toBe(String(existsSync(bundle)));
  expect(run('console.log((fs.statSync("/tmp").mode & 0o7777).toString(8))')).toBe('1777');
});

test('the base image is made in under 5 s, once, and has the same digest wherever it is made', async () => {
  await using first = await scratchStore();
  await using second = await scratchStore();
  const startMs = performance.now();
  const digest = await ensureNodeBaseImage(first.store, { nodePath });
  expect(performance.now() - startMs).toBeLessThan(5000);

  const before = await filesOf(first.directory);
  expect(await ensureNodeBaseImage(first.store, { nodePath })).toBe(digest);
  expect(await filesOf(first.directory)).toEqual(before);
  expect(await ensureNodeBaseImage(second.store, { nodePath })).toBe(digest);
});

test('a tag that another image has taken does not stand for the base image', async () => {
  await using scratch = await scratchStore();
  const digest = await ensureNodeBaseImage(scratch.store, { nodePath });
  const [layer] = (await scratch.store.resolve(digest)).layers as [string];
  const other = await scratch.store.createImage({ layers: [layer] });
  await scratch.store.tag(nodeBaseReference, other.digest);
  expect(await ensureNodeBaseImage(scratch.store, { nodePath })).toBe(digest);
  expect(scratch.store.lookup(nodeBaseReference)).toBe(digest);
});

test('a program that is no Node of this machine is refused with the reason', async () => {
  await using scratch = await scratchStore();
  await expect(ensureNodeBaseImage(scratch.store, { nodePath: '/bin/false' })).rejects.toMatchObject({
    code: 'base_image_failed',
  });
  expect(scratch.store.hasLayer(digestOf(''))).toBe(false);
  expect(await filesOf(scratch.directory)).toEqual([]);
});
