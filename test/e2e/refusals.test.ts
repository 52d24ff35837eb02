/** Deploys and starts that are refused: what is said about it, and that nothing has changed. */
import { once } from 'node:events';
import { symlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { call } from './support/call.ts';
import { Installation } from './support/installation.ts';
import { findTraces } from './support/traces.ts';

let stoke: Installation;
const url = (path: string) => `${stoke.url}/fn/${path}`;

beforeAll(async () => {
  stoke = await Installation.start();
});
afterAll(() => stoke.stop());

/** The function of an earlier test still answers. */
async function expectSteady(): Promise<void> {
  expect(await call(url('steady'))).toMatchObject({ status: 200, text: 'good' });
}

describe('a deploy that is refused', () => {
  const good = { 'index.mjs': 'export const handler = () => 1;' };
  const cases: [what: string, source: Parameters<Installation['write']>[0], code: string, message: RegExp][] = [
    ['without fn.json', { files: good }, 'invalid_config', /fn\.json/],
    ['with an fn.json that is no JSON', { config: '{ "name": "x", }', files: good }, 'invalid_config', /fn\.json/],
    ['with an unknown field', { config: '{"name":"x","memroy":"1Gi"}', files: good }, 'invalid_config', /memroy/],
    [
      'with a field of another type',
      { config: '{"name":"x","timeout":"5s"}', files: good },
      'invalid_config',
      /timeout.*number/,
    ],
    ['with a bad name', { config: { name: 'No_Name' }, files: good }, 'invalid_config', /name.*a-z/],
    ['with too little memory', { config: { name: 'x', memory: '1Mi' }, files: good }, 'invalid_config', /memory.*32Mi/],
    [
      'with more memory than the machine has',
      { config: { name: 'x', memory: '900Gi' }, files: good },
      'invalid_config',
      /memory.*900Gi.*machine/,
    ],
    ['without an entry', { config: { name: 'x' }, files: { 'readme.md': '' } }, 'invalid_config', /index\.ts|entry/],
    [
      'without a handler',
      { config: { name: 'x' }, files: { 'index.mjs': 'export const nothing = 1;' } },
      'function_unloadable',
      /handler.*nothing/s,
    ],
    [
      'with a syntax error in JavaScript',
      { config: { name: 'x' }, files: { 'index.mjs': 'export const a = 1;\nexport const handler = ( => 1;\n' } },
      'syntax_error',
      /index\.mjs:2/,
    ],
    [
      'with a syntax error in TypeScript',
      { config: { name: 'x' }, files: { 'index.ts': 'const a: number = 1;\nlet b: = 2;\n' } },
      'syntax_error',
      /index\.ts:2/,
    ],
    [
      'with an import that is not there',
      { config: { name: 'x' }, files: { 'index.mjs': "import './gone.mjs';\nexport const handler = () => 1;" } },
      'function_unloadable',
      /gone\.mjs/,
    ],
    [
      'that throws while loading',
      { config: { name: 'x' }, files: { 'index.mjs': "throw new Error('no database');" } },
      'function_unloadable',
      /no database/,
    ],
    [
      'that ends while loading',
      { config: { name: 'x' }, files: { 'index.mjs': 'process.exit(3);' } },
      'function_unloadable',
      /code 3/,
    ],
    [
      'that takes more memory than it has while loading',
      {
        config: { name: 'x', memory: '32Mi' },
        files: { 'index.mjs': 'const all = []; for (;;) all.push(Buffer.alloc(1 << 20, 1));' },
      },
      'function_unloadable',
      /out of memory.*32 Mi/,
    ],
  ];

  test.each(cases)('%s, says what is wrong, exits with 1 and changes nothing', async (_, source, code, message) => {
    const folder = await stoke.write(source);
    const before = await stoke.fn(['list', '--json']);
    const result = await stoke.fn(['deploy', folder, '--json']);
    expect(result.exitCode).toBe(1);
    const { error } = JSON.parse(result.stdout) as { error: { code: string; message: string } };
    expect(error.message).toMatch(message);
    expect(error.code).toBe(code);
    expect((await stoke.fn(['list', '--json'])).stdout).toBe(before.stdout);
    expect((await call(url('x'))).status).toBe(404);
  });

  test('for a link out of the folder names the link', async () => {
    const folder = await stoke.write({ config: { name: 'x' }, files: good });
    await symlink('/etc/passwd', `${folder}/link`);
    const result = await stoke.fn(['deploy', folder]);
    expect(result).toMatchObject({ exitCode: 1 });
    expect(result.stderr).toMatch(/^error: .*link/);
    expect((await call(url('x'))).status).toBe(404);
  });

  test('leaves the version before it serving', async () => {
    const config = { name: 'steady' };
    await stoke.deploy({ config, files: { 'index.mjs': "export const handler = () => 'good';" } });
    const folder = await stoke.write({ config, files: { 'index.mjs': "throw new Error('bad');" } });
    expect((await stoke.fn(['deploy', folder])).exitCode).toBe(1);
    const answer = await call(url('steady'));
    expect(answer).toMatchObject({ status: 200, text: 'good' });
    expect(answer.headers['x-fn-version']).toBe('1');
  });

  test('not at all, when verification is waived, fails at the call with what it says while loading', async () => {
    await stoke.deploy(
      { config: { name: 'unseen' }, files: { 'index.mjs': "console.log('loading'); throw new Error('no database');" } },
      '--no-verify',
    );
    const answer = await call(url('unseen'));
    expect(answer.error()).toMatchObject({ code: 'function_unloadable' });
    expect(answer.status).toBe(422);
    await stoke.logOf('unseen', String(answer.headers['x-fn-invocation-id']), /loading[\s\S]*no database/);
  });
});

describe('a second platform', () => {
  test('on the same home is refused, with the pid of the first', async () => {
    const second = await stoke.fn(['up', '--json']);
    expect(second.exitCode).toBe(1);
    const last = JSON.parse(second.stdout.trim().split('\n').at(-1) as string) as { error: { message: string } };
    expect(last.error.message).toContain(`process ${stoke.supervisorPid} runs it already`);
    await expectSteady();
  });

  test('on the same run folder is refused too', async () => {
    const second = await stoke.fn(['up'], { env: { STOKE_HOME: `${stoke.folder}/other` } });
    expect(second).toMatchObject({ exitCode: 1 });
    expect(second.stderr).toMatch(/is in use: process \d+ runs it already/);
    await expectSteady();
  });

  test('on a port that is taken says which, and leaves nothing', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const other = await Installation.create({ STOKE_LISTEN: `127.0.0.1:${port}` });
    try {
      const result = await other.fn(['up']);
      expect(result).toMatchObject({ exitCode: 1 });
      expect(result.stderr).toContain(`the gateway cannot listen on 127.0.0.1:${port}: another process does`);
      expect(findTraces(other.config)).toEqual([]);
    } finally {
      server.close();
      await other.stop();
    }
  });

  test('beside the first has functions of its own, and its end does not touch the first', async () => {
    const other = await Installation.start();
    try {
      await other.deploy({
        config: { name: 'steady' },
        files: { 'index.mjs': "export const handler = () => 'the other';" },
      });
      expect((await call(`${other.url}/fn/steady`)).text).toBe('the other');
      expect((await call(url('steady'))).text).toBe('good');
      expect((await call(`${other.url}/fn/unseen`)).status).toBe(404);
    } finally {
      await other.stop();
    }
    await expectSteady();
  });
});
