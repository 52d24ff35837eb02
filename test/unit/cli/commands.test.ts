import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { describeTree } from '../../../services/cli/completion-script.ts';
import { createProgram } from '../../../services/cli/program.ts';
import { type FnOptions, makeTestFolder, runBash, runFn, type TestFolder } from './run-fn.ts';
import { sendError, sendJson, startTestGateway, type TestGateway } from './test-gateway.ts';

let gateway: TestGateway;
let folder: TestFolder;
let cache: TestFolder;

beforeAll(async () => {
  cache = await makeTestFolder();
});
afterAll(() => cache[Symbol.asyncDispose]());
beforeEach(async () => {
  [gateway, folder] = await Promise.all([startTestGateway(), makeTestFolder()]);
});
afterEach(async () => {
  await Promise.all([gateway[Symbol.asyncDispose](), folder[Symbol.asyncDispose]()]);
});

function fn(args: string[], options: Partial<FnOptions> = {}) {
  return runFn(args, {
    cwd: folder.path,
    cache: cache.path,
    ...options,
    env: { STOKE_URL: gateway.url, ...options.env },
  });
}

const digest = `sha256:${'a'.repeat(64)}`;
const bytes = Buffer.from([0, 255, 10, 13, 128]);

describe('the command line', () => {
  test('has --json and --help in every command', () => {
    for (const command of createProgram().commands) {
      expect([command.name(), command.options.some((option) => option.long === '--json')]).toEqual([
        command.name(),
        true,
      ]);
      expect(command.helpInformation()).toContain('--help');
      expect(command.description()).not.toBe('');
    }
  });

  test('that is wrong exits with 2, says what is wrong and what was meant', async () => {
    const unknown = await fn(['deplyo']);
    expect(unknown).toMatchObject({ exitCode: 2, stdout: '' });
    expect(unknown.stderr).toBe("error: unknown command 'deplyo'\n  did you mean deploy?\n  see: fn --help\n");
    const asJson = await fn(['list', '--nope', '--json']);
    expect(asJson.exitCode).toBe(2);
    expect(JSON.parse(asJson.stdout)).toMatchObject({ error: { code: 'usage', message: "unknown option '--nope'" } });
  });

  test('says how to start a gateway when none answers, with exit code 1', async () => {
    const env = { STOKE_URL: 'http://127.0.0.1:1' };
    expect(await fn(['list'], { env })).toMatchObject({
      exitCode: 1,
      stderr: 'error: no gateway answers at http://127.0.0.1:1\n  start it with: fn up\n',
    });
    const asJson = await fn(['list', '--json'], { env });
    expect(JSON.parse(asJson.stdout)).toMatchObject({ error: { code: 'no_gateway' } });
    expect(asJson.stderr).toBe('');
  });

  test('finds the gateway that runs here by the file it left, else by STOKE_LISTEN', async () => {
    gateway.handler = (_request, response) => sendJson(response, 200, { functions: [] });
    const port = new URL(gateway.url).port;
    const listed = await fn(['list'], { env: { STOKE_URL: '', STOKE_LISTEN: `0.0.0.0:${port}` } });
    expect(listed).toMatchObject({ exitCode: 0, stderr: '' });
    await folder.write({ 'run/gateway.json': JSON.stringify({ url: gateway.url }) });
    expect(await fn(['list'], { env: { STOKE_URL: '', STOKE_LISTEN: '127.0.0.1:1' } })).toMatchObject({ exitCode: 0 });
  });

  test('names a wrong variable', async () => {
    const result = await fn(['list'], { env: { STOKE_URL: '', STOKE_LISTEN: 'here' } });
    expect(result).toMatchObject({ exitCode: 1 });
    expect(result.stderr).toContain('STOKE_LISTEN: "here": expected host:port');
  });

  test('shows what a gateway that is none answered, not a stack', async () => {
    gateway.handler = (_request, response) => response.writeHead(418, 'Teapot').end('<html>');
    const result = await fn(['list']);
    expect(result.exitCode).toBe(1);
    expect(result.stderr).toMatch(/^error: what listens at \S+ answered 418 Teapot\n/);
    expect(result.stderr).not.toContain('    at ');
    expect((await fn(['list'], { env: { STOKE_DEBUG: '1' } })).stderr).toContain('    at ');
  });
});

describe('fn init', () => {
  test.each(['typescript', 'javascript'])('makes a %s function that can be deployed at once', async (template) => {
    const made = await fn(['init', 'My App', '--template', template]);
    expect(made).toMatchObject({ exitCode: 0, stderr: '' });
    expect(made.stdout).toContain('fn deploy');
    const path = join(folder.path, 'My App');
    expect(JSON.parse(await readFile(join(path, 'fn.json'), 'utf8'))).toMatchObject({ name: 'my-app' });
    expect(await readFile(join(path, '.gitignore'), 'utf8')).toContain('node_modules');
    expect(await readFile(join(path, 'README.md'), 'utf8')).toMatch(/^# my-app\n/);
    const deployed = await fn(['deploy', 'My App', '--json']);
    expect(deployed.stderr).toBe('');
    expect(JSON.parse(deployed.stdout)).toMatchObject({ function: 'my-app', version: 1, created: true, notes: [] });
    expect(gateway.deploys[0]).toMatchObject({ entry: template === 'typescript' ? 'index.ts' : 'index.js' });
  });

  test('writes nothing where one of its files exists, and names it', async () => {
    await folder.write({ 'app/README.md': 'mine' });
    const result = await fn(['init', 'app']);
    expect(result).toMatchObject({ exitCode: 1 });
    expect(result.stderr).toContain('already has README.md');
    expect(await readdir(join(folder.path, 'app'))).toEqual(['README.md']);
  });

  test('refuses a name that no function can have', async () => {
    const result = await fn(['init', 'app', '--name', 'No_Good']);
    expect(result).toMatchObject({ exitCode: 2 });
    expect(result.stderr).toContain('name "No_Good": expected 1 to 63 of a-z');
    expect(await readdir(folder.path)).not.toContain('app');
  });
});

describe('fn deploy', () => {
  test('prints version, digest and URL, and says when nothing changed', async () => {
    await folder.write({ 'fn.json': '{"name":"hello"}', 'index.js': 'export default {}' });
    const first = await fn(['deploy']);
    expect(first.stdout).toMatch(/^deployed hello@1 in .*\n {2}digest {2}sha256:[0-9a-f]{64}\n {2}entry {3}index.js\n/);
    expect(first.stdout).toContain(`${gateway.url}/fn/hello`);
    expect((await fn(['deploy'])).stdout).toMatch(/^unchanged: hello@1 in .* \(nothing to send/);
  });

  test('ends on Ctrl-C with 130 and leaves no temporary file', async () => {
    await folder.write({ 'app/fn.json': '{"name":"hello"}', 'app/index.js': '', 'tmp/.keep': '' });
    gateway.layers.has = () => {
      // The upload is about to begin.
      interrupt?.('SIGINT');
      return false;
    };
    let interrupt: ((signal: NodeJS.Signals) => void) | undefined;
    const env = { TMPDIR: join(folder.path, 'tmp') };
    const result = await fn(['deploy', 'app'], {
      env,
      onStart: (kill) => {
        interrupt = kill;
      },
    });
    expect(result).toMatchObject({ exitCode: 130, stderr: 'interrupted\n' });
    expect(await readdir(join(folder.path, 'tmp'))).toEqual(['.keep']);
    expect(gateway.deploys).toEqual([]);
  });
});

describe('fn invoke', () => {
  test('writes the bytes of the answer to stdout, as they are, and nothing else', async () => {
    gateway.handler = (_request, response) => response.end(bytes);
    const result = await fn(['invoke', 'hello']);
    expect(result).toMatchObject({ exitCode: 0, stderr: '' });
    expect(result.stdoutBytes.equals(bytes)).toBe(true);
  });

  test('writes each piece when it comes', async () => {
    let finish: (() => void) | undefined;
    gateway.handler = (_request, response) => {
      response.write('first');
      finish = () => response.end(' second');
    };
    const result = await fn(['invoke', 'hello'], { onOutput: (text) => text === 'first' && finish?.() });
    expect(result.stdout).toBe('first second');
  });

  test('sends method, path, headers and data as told', async () => {
    gateway.handler = ({ method, url, headers }, response, body) =>
      sendJson(response, 200, { method, url, type: headers['content-type'], a: headers['x-a'], body: body.toString() });
    const got = async (...args: string[]) => JSON.parse((await fn(['invoke', 'hello', ...args])).stdout);
    expect(await got()).toEqual({ method: 'GET', url: '/fn/hello', body: '' });
    expect(await got('--path', 'users?limit=3', '-H', 'X-A: 1', '-H', 'x-a:2', '-X', 'delete')).toEqual({
      method: 'DELETE',
      url: '/fn/hello/users?limit=3',
      a: '1, 2',
      body: '',
    });
    expect(await got('-d', '{"a":1}')).toMatchObject({ method: 'POST', type: 'application/json', body: '{"a":1}' });
    expect(await got('-d', 'plain')).toMatchObject({ type: 'text/plain', body: 'plain' });
    expect(await got('-d', 'x', '-H', 'Content-Type: text/csv')).toMatchObject({ type: 'text/csv' });
    await folder.write({ 'data.json': '[1]' });
    expect(await got('-d', '@data.json')).toMatchObject({ type: 'application/json', body: '[1]' });
  });

  test('sends standard input for --data -', async () => {
    gateway.handler = (_request, response, body) => response.end(body);
    const result = await fn(['invoke', 'hello', '--data', '-'], { input: bytes });
    expect(result.stdoutBytes.equals(bytes)).toBe(true);
  });

  test("fails with the platform's error on stderr, and nothing on stdout", async () => {
    gateway.handler = (_request, response) =>
      sendError(response, {
        code: 'deadline_exceeded',
        message: 'no answer within 30 s',
        details: { stage: 'handler' },
      });
    expect(await fn(['invoke', 'hello'])).toMatchObject({
      exitCode: 1,
      stdout: '',
      stderr: 'error: no answer within 30 s\n',
    });
    const asJson = await fn(['invoke', 'hello', '--json']);
    expect(asJson.exitCode).toBe(1);
    expect(JSON.parse(asJson.stdout)).toMatchObject({ status: 504, error: { code: 'deadline_exceeded' } });
  });

  test("gives the function's own error answer to stdout and exits with 1", async () => {
    gateway.handler = (_request, response) => response.writeHead(404, 'Not Found').end('no such user');
    expect(await fn(['invoke', 'hello'])).toMatchObject({
      exitCode: 1,
      stdout: 'no such user',
      stderr: 'error: the function answered 404 Not Found\n',
    });
  });

  test('shows status, headers, start and times with --verbose and --json', async () => {
    gateway.handler = (_request, response) =>
      response
        .writeHead(200, { 'X-Fn-Start': 'cold', 'Server-Timing': 'queue;dur=0.3, start;dur=4.1, total;dur=5' })
        .end('hi');
    const verbose = await fn(['invoke', 'hello', '-v']);
    expect(verbose.stdout).toBe('hi');
    expect(verbose.stderr).toMatch(/^< 200 OK\n< X-Fn-Start: cold\n/);
    expect(verbose.stderr).toContain('< start: cold; queue 0.3 ms, start 4.1 ms, total 5 ms\n');
    expect(JSON.parse((await fn(['invoke', 'hello', '--json'])).stdout)).toMatchObject({
      status: 200,
      start: 'cold',
      timings: { queue: 0.3, start: 4.1, total: 5 },
      body: 'hi',
      encoding: 'utf8',
    });
  });

  test('fails when the answer breaks off', async () => {
    gateway.handler = (_request, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('half');
      setImmediate(() => response.destroy());
    };
    const result = await fn(['invoke', 'hello']);
    expect(result.exitCode).toBe(1);
    expect(result.stderr).toMatch(/^error: the connection to the gateway was lost before the answer was complete\n/);
  });
});

describe('fn logs', () => {
  const entry = { t: 0, invocation: 'i1', version: 1, instance: 'c1', stream: 'stderr', text: 'one\ntwo\n' };

  test('prints time, stream and text of each line, and asks for what was asked', async () => {
    let url: string | undefined;
    gateway.handler = (request, response) => {
      url = request.url;
      response.end(`${JSON.stringify(entry)}\n${JSON.stringify({ ...entry, stream: 'system', text: 'gone' })}\n`);
    };
    const result = await fn(['logs', 'hello', '--invocation', 'i1', '--tail', '5']);
    expect(url).toBe('/api/v1/functions/hello/logs?invocation=i1&tail=5');
    const time = '1970-01-01T00:00:00.000Z';
    expect(result).toMatchObject({
      exitCode: 0,
      stdout: `${time} stderr one\n${time} stderr two\n${time} system gone\n`,
    });
    const asJson = await fn(['logs', 'hello', '--json']);
    expect(
      asJson.stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toHaveLength(2);
  });

  test('prints an entry at once when it follows, and fails when the gateway goes', async () => {
    let finish: (() => void) | undefined;
    gateway.handler = (request, response) => {
      expect(request.url).toContain('follow=true');
      response.write(`${JSON.stringify(entry)}\n`);
      finish = () => response.destroy();
    };
    const result = await fn(['logs', '-f', 'hello'], { onOutput: () => finish?.() });
    expect(result.stdout).toContain('stderr one');
    expect(result).toMatchObject({ exitCode: 1 });
    expect(result.stderr).toContain('the connection to the gateway was lost');
  });
});

describe('the deployed functions', () => {
  const summary = { name: 'hello', version: 2, runtime: 'node24', memory: '128Mi', updatedAtMs: 0, path: '/fn/hello' };
  const missing = { code: 'function_not_found', message: 'there is no function "hello"' } as const;

  test('are listed, as a table or as JSON', async () => {
    gateway.handler = (_request, response) => sendJson(response, 200, { functions: [summary] });
    const listed = (await fn(['list'])).stdout.split('\n');
    expect(listed[0]?.split(/ +/)).toEqual(['NAME', 'VERSION', 'RUNTIME', 'MEMORY', 'UPDATED', 'URL']);
    expect(listed[1]).toContain(`${gateway.url}/fn/hello`);
    expect(JSON.parse((await fn(['list', '--json'])).stdout)).toEqual({ functions: [summary] });
  });

  test('are inspected one by one, with their versions', async () => {
    const detail = {
      name: 'hello',
      current: 1,
      path: '/fn/hello',
      config: { name: 'hello', env: { TOKEN: 'secret' } },
      entry: 'index.ts',
      image: digest,
      digest,
      versions: [{ version: 1, digest, createdAtMs: 0 }],
    };
    gateway.handler = ({ url }, response) =>
      url === '/api/v1/functions/hello' ? sendJson(response, 200, detail) : sendError(response, missing);
    const { stdout } = await fn(['inspect', 'hello']);
    expect(stdout).toContain('1 (current)');
    expect(stdout).toContain('TOKEN');
    expect(stdout).not.toContain('secret');
    expect(await fn(['inspect', 'other'])).toMatchObject({
      exitCode: 1,
      stderr: 'error: there is no function "hello"\n  see what is deployed with: fn list\n',
    });
  });

  test('are removed', async () => {
    gateway.handler = ({ method, url }, response) =>
      method === 'DELETE' && url === '/api/v1/functions/hello'
        ? response.writeHead(204).end()
        : sendError(response, missing);
    expect(await fn(['remove', 'hello'])).toMatchObject({ exitCode: 0, stdout: 'removed hello\n' });
    expect(await fn(['remove', 'other'])).toMatchObject({ exitCode: 1 });
  });
});

describe('fn completion', () => {
  test.each(['bash', 'zsh', 'fish'])('for %s knows every command and its options', async (shell) => {
    const { stdout, exitCode } = await fn(['completion', shell]);
    expect(exitCode).toBe(0);
    for (const command of describeTree(createProgram())) {
      expect(stdout).toContain(command.name);
      for (const flag of command.flags) expect(stdout).toContain(flag.name.replace(/^-+/, ''));
    }
  });

  test('for bash completes commands, options and the names of functions', async () => {
    const summary = {
      name: 'greeter',
      version: 1,
      runtime: 'node24',
      memory: '1Mi',
      updatedAtMs: 0,
      path: '/fn/greeter',
    };
    gateway.handler = (_request, response) => sendJson(response, 200, { functions: [summary] });
    const { stdout: script } = await fn(['completion', 'bash']);
    const complete = async (...words: string[]) => {
      const line = `COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _fn; echo "\${COMPREPLY[@]}"`;
      return (await runBash(`${script}\n${line}`, { STOKE_URL: gateway.url })).trim();
    };
    expect(await complete('fn', 'ini')).toBe('init');
    expect(await complete('fn', 'deploy', '--no')).toBe('--no-verify');
    expect(await complete('fn', 'invoke', 'gr')).toBe('greeter');
  });
});
