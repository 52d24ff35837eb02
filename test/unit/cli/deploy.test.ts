import { execFile } from 'node:child_process';
import { chmod, mkdir, readdir, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readTar, type TarEntry } from '../../../runtime/oci.ts';
import { type DeployOptions, type DeployProgress, deployFolder } from '../../../services/cli/deploy/deploy.ts';
import { GatewayClient } from '../../../services/cli/gateway-client.ts';
import { CliError } from '../../../services/cli/output.ts';
import { makeTestFolder, type TestFolder } from './run-fn.ts';
import { startTestGateway, type TestGateway } from './test-gateway.ts';

let gateway: TestGateway;
let folder: TestFolder;
let cache: TestFolder;

beforeEach(async () => {
  [gateway, folder, cache] = await Promise.all([startTestGateway(), makeTestFolder(), makeTestFolder()]);
});
afterEach(async () => {
  await Promise.all([gateway, folder, cache].map((each) => each[Symbol.asyncDispose]()));
});

function deploy(options: Partial<DeployOptions> = {}) {
  return deployFolder({
    folder: folder.path,
    gateway: new GatewayClient(gateway.url),
    environment: { ...process.env, XDG_CACHE_HOME: cache.path },
    ...options,
  });
}

async function failure(promise: Promise<unknown>): Promise<CliError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(CliError);
  return error as CliError;
}

type Unpacked = Record<string, TarEntry & { text: string }>;

async function unpack(digest: string | undefined): Promise<Unpacked> {
  const tar = gateway.layers.get(digest ?? '');
  if (!tar) throw new Error(`the gateway has no layer ${digest}`);
  const entries: Unpacked = {};
  await readTar(Readable.from([tar]), async (entry, body) => {
    const chunks: Buffer[] = [];
    for await (const chunk of body) chunks.push(chunk);
    entries[entry.path.replace(/\/$/, '')] = { ...entry, text: Buffer.concat(chunks).toString() };
  });
  return entries;
}

const hello = { 'fn.json': '{"name":"hello"}', 'index.js': 'export default { fetch: () => new Response("hi") };\n' };

describe('a deploy', () => {
  test('sends one layer with the files below var/task, owned by root, without times', async () => {
    await folder.write({ ...hello, 'data/words.txt': 'one two', 'run.sh': '#!/bin/sh\n', '.git/HEAD': 'ref' });
    await chmod(join(folder.path, 'run.sh'), 0o700);
    await chmod(join(folder.path, 'data/words.txt'), 0o600);
    const deployment = await deploy();
    expect(deployment).toMatchObject({ function: 'hello', version: 1, created: true, url: `${gateway.url}/fn/hello` });
    expect(gateway.deploys[0]).toMatchObject({ entry: 'index.js', stripped: false, verify: true });
    const entries = await unpack(deployment.layers[0]?.digest);
    expect(Object.keys(entries)).toEqual([
      'var',
      'var/task',
      'var/task/data',
      'var/task/data/words.txt',
      'var/task/fn.json',
      'var/task/index.js',
      'var/task/run.sh',
    ]);
    expect(entries['var/task/data/words.txt']).toMatchObject({ text: 'one two', mode: 0o644 });
    expect(entries['var/task/run.sh']).toMatchObject({ mode: 0o755 });
    for (const entry of Object.values(entries)) expect(entry).toMatchObject({ uid: 0, gid: 0, mtimeMs: 0 });
  });

  test('of the same content has the same digest from another folder at another time, and sends nothing', async () => {
    await folder.write({ ...hello, 'a.txt': 'a', 'b/c.txt': 'c' });
    const first = await deploy();
    await using other = await makeTestFolder();
    await other.write({ 'b/c.txt': 'c', 'a.txt': 'a', ...hello });
    await utimes(join(other.path, 'a.txt'), 1, 2);
    const second = await deploy({ folder: other.path });
    expect(second.created).toBe(false);
    expect(second.digest).toBe(first.digest);
    expect(second.layers.map((layer) => layer.uploaded)).toEqual([false]);
    expect(gateway.uploads).toHaveLength(1);
  });

  test('without --no-verify asks the gateway for a first start, with it does not', async () => {
    await folder.write(hello);
    expect((await deploy({ verify: false })).verifyMs).toBeNull();
    expect(gateway.deploys[0]?.verify).toBe(false);
  });

  test('tells its progress', async () => {
    await folder.write(hello);
    const stages: DeployProgress[] = [];
    const deployment = await deploy({ onProgress: (progress) => stages.push(progress) });
    expect([...new Set(stages.map((step) => step.stage))]).toEqual(['packing', 'uploading', 'verifying']);
    const sent = stages.flatMap((step) => (step.stage === 'uploading' ? [step.sentBytes] : []));
    expect(sent.at(-1)).toBe(deployment.layers[0]?.sizeBytes);
  });

  test('sends a layer again that the gateway collected between the upload and the version', async () => {
    await folder.write(hello);
    const { set } = gateway.layers;
    gateway.layers.set = () => {
      gateway.layers.set = set;
      return gateway.layers;
    };
    const deployment = await deploy();
    expect(deployment.created).toBe(true);
    expect(gateway.uploads).toHaveLength(2);
  });

  test('leaves nothing in the temporary folder, whether it goes well, fails or is interrupted', async () => {
    const mine = async () => (await readdir(tmpdir())).filter((name) => name.startsWith('stoke-deploy-'));
    await using temporary = await makeTestFolder();
    process.env.TMPDIR = temporary.path;
    try {
      await folder.write(hello);
      await deploy();
      await folder.write({ 'index.js': 'export default {{' });
      await failure(deploy());
      const controller = new AbortController();
      await folder.write({ 'index.js': 'export default { fetch() {} }', 'large.bin': Buffer.alloc(8 << 20) });
      const interrupted = deploy({
        signal: controller.signal,
        onProgress: (step) => step.stage === 'uploading' && controller.abort(),
      });
      await expect(interrupted).rejects.toMatchObject({ name: 'AbortError' });
      expect(await mine()).toEqual([]);
    } finally {
      delete process.env.TMPDIR;
    }
  });
});

describe('TypeScript', () => {
  test('is stripped under its own name, lines kept; declarations are dropped', async () => {
    await folder.write({
      'fn.json': '{"name":"hello"}',
      'index.ts': "import type { A } from './types.d.ts';\nexport const handler = (a: A): number => a.n;\n",
      'types.d.ts': 'export interface A { n: number }',
    });
    const deployment = await deploy();
    expect(gateway.deploys[0]).toMatchObject({ entry: 'index.ts', stripped: true });
    const entries = await unpack(deployment.layers[0]?.digest);
    expect(entries['var/task/index.ts']?.text.split('\n')[1]?.replace(/\s+/g, ' ')).toBe(
      'export const handler = (a ) => a.n;',
    );
    expect(entries['var/task/types.d.ts']).toBeUndefined();
  });

  test('with enums and parameter properties becomes code with a source map to the file in the container', async () => {
    await folder.write({
      'fn.json': '{"name":"hello"}',
      'index.ts':
        'enum Colour { red }\nclass P { constructor(readonly x: number) {} }\nexport const handler = () => Colour.red;',
    });
    const entries = await unpack((await deploy()).layers[0]?.digest);
    const code = entries['var/task/index.ts']?.text ?? '';
    const map = /sourceMappingURL=data:application\/json;base64,(\S+)/.exec(code)?.[1] ?? '';
    expect(JSON.parse(Buffer.from(map, 'base64').toString())).toMatchObject({ sources: ['/var/task/index.ts'] });
    const loaded = (await import(`data:text/javascript,${encodeURIComponent(code)}`)) as { handler(): number };
    expect(loaded.handler()).toBe(0);
  });

  test('in node_modules is taken as it is', async () => {
    const source = 'export const x: number = 1;';
    await folder.write({ ...hello, 'node_modules/typed/index.ts': source, 'node_modules/typed/broken.js': 'let let' });
    const deployment = await deploy();
    const packages = await unpack(deployment.layers[0]?.digest);
    expect(packages['var/task/node_modules/typed/index.ts']?.text).toBe(source);
  });
});

describe('packages', () => {
  test('in node_modules are a lower layer of their own, which a change of code does not send again', async () => {
    await folder.write({ ...hello, 'node_modules/dep/index.js': 'module.exports = 1' });
    const first = await deploy();
    await folder.write({ 'index.js': 'export default { fetch: () => new Response("changed") }' });
    const second = await deploy();
    expect(second.layers.map((layer) => layer.uploaded)).toEqual([false, true]);
    expect(second.layers[0]?.digest).toBe(first.layers[0]?.digest);
    expect(Object.keys(await unpack(second.layers[1]?.digest))).not.toContain('var/task/node_modules');
  });

  test('are not left out by patterns meant for the own files, unless node_modules itself is named', async () => {
    await folder.write({ ...hello, 'node_modules/dep/dist/index.js': '', 'dist/old.js': '', '.fnignore': 'dist\n' });
    const first = await deploy();
    expect(Object.keys(await unpack(first.layers[0]?.digest))).toContain('var/task/node_modules/dep/dist/index.js');
    expect(Object.keys(await unpack(first.layers[1]?.digest))).not.toContain('var/task/dist');
    await folder.write({ '.fnignore': 'node_modules/\n' });
    expect((await deploy()).layers).toHaveLength(1);
  });

  test('are installed once by npm as the lockfile says, and reused until it changes', async () => {
    await using registry = await makeTestFolder();
    const npm = join(registry.path, 'npm');
    // A stand-in for npm only: it writes down how it was called and makes what npm ci would.
    const script = `#!/bin/sh\necho "$@" >> ${registry.path}/calls\nmkdir -p node_modules/dep && cp package-lock.json node_modules/dep/made\n`;
    await writeFile(npm, script, { mode: 0o755 });
    const environment = { XDG_CACHE_HOME: cache.path, PATH: `${registry.path}:${process.env.PATH}` };
    const lock = (version: string) => JSON.stringify({ lockfileVersion: 3, version });
    await folder.write({ ...hello, 'package.json': '{"dependencies":{"dep":"1"}}', 'package-lock.json': lock('1') });
    const first = await deploy({ environment });
    await folder.write({ 'index.js': 'export default { fetch: () => new Response("changed") }' });
    const second = await deploy({ environment });
    expect(second.layers.map((layer) => layer.uploaded)).toEqual([false, true]);
    await folder.write({ 'package-lock.json': lock('2') });
    const third = await deploy({ environment });
    expect(third.layers[0]?.digest).not.toBe(first.layers[0]?.digest);
    expect((await unpack(third.layers[0]?.digest))['var/task/node_modules/dep/made']?.text).toBe(lock('2'));
    const { stdout } = await promisify(execFile)('cat', [join(registry.path, 'calls')]);
    const calls = stdout.trimEnd().split('\n');
    expect(calls).toHaveLength(2);
    for (const call of calls) expect(call).toMatch(/^ci --omit=dev --ignore-scripts /);
    expect(await readdir(join(cache.path, 'stoke', 'dependencies'))).toHaveLength(2);
  });

  test("that npm cannot install fail with npm's own words and leave no half of a cache", async () => {
    const environment = { ...process.env, XDG_CACHE_HOME: cache.path };
    const npmrc = 'registry=http://127.0.0.1:1/\nfetch-retries=0\n';
    await folder.write({ ...hello, 'package.json': '{"dependencies":{"dep":"1"}}', '.npmrc': npmrc });
    const error = await failure(deploy({ environment }));
    expect(error.message).toMatch(/^npm install failed with exit code \d+/);
    expect(error.remedy).toMatch(/npm error code ECONNREFUSED/);
    expect(await readdir(join(cache.path, 'stoke', 'dependencies'))).toEqual([]);
    expect(gateway.uploads).toEqual([]);
  });

  test('need npm only when there is something to install, and say so when it is missing', async () => {
    const environment = { XDG_CACHE_HOME: cache.path, PATH: '/nowhere' };
    await folder.write({ ...hello, 'package.json': '{"devDependencies":{"typescript":"7"}}' });
    expect((await deploy({ environment })).created).toBe(true);
    await folder.write({ 'package.json': '{"dependencies":{"dep":"1"}}' });
    const error = await failure(deploy({ environment }));
    expect(error).toMatchObject({ code: 'npm_missing', remedy: expect.stringContaining('install npm') });
  });
});

describe('a folder that cannot be deployed is refused, and nothing is sent:', () => {
  afterEach(() => {
    expect(gateway.uploads).toEqual([]);
    expect(gateway.deploys).toEqual([]);
  });

  test('a link out of it', async () => {
    await folder.write(hello);
    await symlink('../../etc/passwd', join(folder.path, 'secret'));
    expect((await failure(deploy())).message).toMatch(/^"secret" cannot be deployed: it is a link out of the folder/);
  });

  test('an absolute link, in packages too', async () => {
    await folder.write({ ...hello, 'node_modules/a/index.js': '' });
    await symlink('/etc/passwd', join(folder.path, 'node_modules/a/passwd'));
    expect((await failure(deploy())).message).toMatch(/^"node_modules\/a\/passwd" cannot be deployed/);
  });

  test('a link that leaves it by way of another link', async () => {
    await folder.write({ ...hello, 'a/b/c/file': '' });
    await symlink('a/b', join(folder.path, 'short'));
    // By its text it stays inside; by way of "short" it ends in the parent of a.
    await symlink('short/../../../..', join(folder.path, 'x'));
    expect((await failure(deploy())).message).toMatch(/^"x" cannot be deployed: it is a link out of the folder/);
  });

  test('a socket', async () => {
    await folder.write(hello);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(folder.path, 's.sock'), resolve));
    const error = await failure(deploy());
    await new Promise((resolve) => server.close(resolve));
    expect(error.message).toBe('"s.sock" cannot be deployed: it is neither a file, a folder nor a link');
  });

  test('a name that would delete its namesake in the layers below', async () => {
    await folder.write({ ...hello, 'data/.wh.passwd': '' });
    expect((await failure(deploy())).message).toContain('"data/.wh.passwd" cannot be deployed');
  });

  test('more than 250 MiB, with the largest parts named', async () => {
    await folder.write({
      ...hello,
      'models/a.bin': '',
      'models/b.bin': '',
      'node_modules/@big/pkg/x': '',
      'small.txt': '1',
    });
    await truncate(join(folder.path, 'models/a.bin'), 100 << 20);
    await truncate(join(folder.path, 'models/b.bin'), 50 << 20);
    await truncate(join(folder.path, 'node_modules/@big/pkg/x'), 120 << 20);
    const error = await failure(deploy());
    expect(error).toMatchObject({
      code: 'deploy_too_large',
      message: 'the deploy has 270 MiB; at most 250 MiB are allowed',
    });
    const named = error.remedy
      ?.split('\n')
      .slice(1, 3)
      .map((line) => line.trim());
    expect(named).toEqual(['150 MiB  models', '120 MiB  node_modules/@big/pkg']);
  });

  test('no fn.json', async () => {
    await folder.write({ 'index.js': '' });
    const error = await failure(deploy());
    expect(error.message).toBe(`${folder.path} has no fn.json`);
    expect(error.remedy).toContain('fn init');
  });

  test('no such folder', async () => {
    const error = await failure(deploy({ folder: join(folder.path, 'missing') }));
    expect(error.message).toBe(`there is no folder ${join(folder.path, 'missing')}`);
  });

  test('a field of fn.json that is not what it should be', async () => {
    await folder.write({ ...hello, 'fn.json': '{"name":"Hello World","memory":"4X","timeuot":3}' });
    const { message } = await failure(deploy());
    expect(message).toContain('name: expected 1 to 63 of a-z, 0-9 and "-"');
    expect(message).toContain('memory: "4X": unknown unit "X"; use Ki, Mi or Gi');
    expect(message).toContain('timeuot');
  });

  test('fn.json that is not JSON, with line, column and the place', async () => {
    await folder.write({ ...hello, 'fn.json': '{\n  "name": "hello",\n  "cpu": 1,\n}\n' });
    const error = await failure(deploy());
    expect(error.message).toBe('fn.json:4:1: not JSON: expected a property name in double quotes after the comma');
    expect(error.remedy).toContain('> 4 | }');
  });

  test('JSX, which needs a build step', async () => {
    await folder.write({ ...hello, 'view.tsx': 'export const a = <p/>;' });
    const error = await failure(deploy());
    expect(error.message).toContain('"view.tsx"');
    expect(error.remedy).toContain('JSX needs a build step');
  });

  test('a package that is a folder elsewhere', async () => {
    await folder.write({ ...hello, 'package.json': '{"dependencies":{"mine":"file:../mine"}}' });
    expect((await failure(deploy())).message).toContain('dependency "mine" is "file:../mine"');
  });

  test('no gateway', async () => {
    await folder.write(hello);
    const error = await failure(deploy({ gateway: new GatewayClient('http://127.0.0.1:1') }));
    expect(error).toMatchObject({
      message: 'no gateway answers at http://127.0.0.1:1',
      remedy: 'start it with: fn up',
    });
  });
});

test('a link within the folder stays a link', async () => {
  await folder.write({ ...hello, 'data/real.txt': 'x' });
  await mkdir(join(folder.path, 'links'));
  await symlink('../data/real.txt', join(folder.path, 'links/a.txt'));
  const entries = await unpack((await deploy()).layers[0]?.digest);
  expect(entries['var/task/links/a.txt']).toMatchObject({ type: 'symlink', linkname: '../data/real.txt' });
});
