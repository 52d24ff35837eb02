/** How a function gets loaded, in each form that it may have, and what is said when it cannot be. */
import { afterEach, describe, expect, it } from 'vitest';
import { endAgents, startAgent } from './running-agent.ts';

afterEach(endAgents);

describe('a function loads', () => {
  const forms = [
    { folder: 'load-esm-fetch', entry: 'index.js', style: 'fetch', answer: 'I am greeter' },
    { folder: 'load-esm-handler', entry: 'index.mjs', style: 'handler', answer: 'esm handler' },
    { folder: 'load-typeless', entry: 'index.js', style: 'handler', answer: 'index.js' },
    { folder: 'load-typeless-await', entry: 'index.js', style: 'handler', answer: 'found out' },
    { folder: 'load-cjs-handler', entry: 'index.js', style: 'handler', answer: 'cjs in load-cjs-handler' },
    { folder: 'load-cjs-fetch', entry: 'index.cjs', style: 'fetch', answer: 'cjs fetch' },
    { folder: 'load-cjs-transpiled', entry: 'index.js', style: 'fetch', answer: 'transpiled' },
    { folder: 'load-default-function', entry: 'index.mjs', style: 'fetch', answer: 'default /' },
    { folder: 'load-await', entry: 'index.mjs', style: 'handler', answer: 'awaited' },
    { folder: 'load-types', entry: 'index.ts', style: 'handler', answer: '42 undefined' },
  ];
  it.each(forms)('as $folder and answers in $style style', async ({ folder, entry, style, answer }) => {
    const agent = startAgent(folder, { entry });
    const ready = await agent.ready();
    expect(ready.style).toBe(style);
    expect(ready.loadMs).toBeGreaterThan(0);
    const { body, frames } = await agent.call();
    expect(body.toString()).toBe(answer);
    expect(frames).toEqual(['head', 'settled']);
    expect(agent.raw + agent.outcome(0).stderr).toBe('');
    agent.socket.end();
    expect(await agent.exited).toBe(0);
  });

  it('from .ts files that hold JavaScript, which Node does not strip again, and resolves their imports', async () => {
    const agent = startAgent('load-stripped', { entry: 'index.ts', stripped: true });
    await agent.ready();
    expect((await agent.call()).body.toString()).toBe('false js→ts index bare common');
    expect(agent.raw).toBe('');
  });

  it('from such files with a top-level await, telling modules from CommonJS by their syntax', async () => {
    const agent = startAgent('load-stripped-await', { entry: 'index.ts', stripped: true });
    await agent.ready();
    expect((await agent.call()).body.toString()).toBe('function');
    expect(agent.raw).toBe('');
  });

  it('as an unchanged Hono app, with the context as its environment and execution context', async () => {
    const agent = startAgent('load-hono', { entry: 'index.mjs' });
    expect((await agent.ready()).style).toBe('fetch');
    const hello = await agent.call({ path: '/hello/world', headers: ['host', 'h.test', 'user-agent', 'tester'] });
    expect(JSON.parse(hello.body.toString())).toEqual({ hello: 'world', agent: 'tester', id: 'invocation-1' });
    const later = await agent.call({ path: '/later' }, 'sent');
    expect(later.head).toMatchObject({ status: 201, end: true });
    expect(later.head?.headers).toContain('x-app');
    expect(later.body.toString()).toBe('sent');
    expect((await agent.call({ path: '/nowhere' })).head?.status).toBe(404);
  });

  it('in a process that was warmed up, where nothing of the warm-up is seen', async () => {
    const agent = startAgent('load-hono', { entry: 'index.mjs' }, true);
    await agent.ready();
    expect((await agent.call({ path: '/hello/x' })).head?.status).toBe(200);
    expect(agent.received.map(({ name }) => name)).toEqual(['ready', 'head', 'settled']);
    expect(agent.raw).toBe('');
  });
});

describe('a function that cannot be loaded is reported with', () => {
  const cases = [
    {
      what: 'what it exports instead of a handler',
      folder: 'bad-exports',
      message:
        'index.mjs exports no handler: expected `export default { fetch(request, context) }` or `export const handler`; ' +
        'found: config (function), default (object with keys a, b)',
    },
    {
      what: 'file and line of a syntax error in a module',
      folder: 'bad-syntax-esm',
      message: "lib/helper.mjs:4: SyntaxError: Unexpected token ','",
    },
    {
      what: 'file and line of a syntax error in CommonJS',
      folder: 'bad-syntax-cjs',
      entry: 'index.js',
      message: 'index.js:3: SyntaxError: missing ) after argument list',
    },
    {
      what: 'the package that is missing, and the remedy',
      folder: 'bad-import',
      message:
        "cannot find package 'no-such-package' imported from index.mjs; " +
        'add it to "dependencies" in package.json and deploy again',
    },
    {
      what: 'the entry that is not there',
      folder: 'bad-import',
      entry: 'app.mjs',
      message: 'entry module "app.mjs" does not exist',
    },
    {
      what: 'what it threw while loading',
      folder: 'bad-throws',
      message: 'index.mjs threw while loading: TypeError: DATABASE_URL is not set',
    },
    {
      what: 'what it threw when that is no error',
      folder: 'bad-rejects',
      message: "index.mjs threw while loading: threw 'a string'",
    },
    {
      what: 'the code that it exited with while loading',
      folder: 'bad-exits',
      message: 'index.mjs ended its process with code 3 while loading',
      exitCode: 3,
    },
  ];
  it.each(cases)('$what', async ({ folder, entry = 'index.mjs', message, exitCode = 1 }) => {
    const agent = startAgent(folder, { entry });
    expect(await agent.failed()).toMatchObject({ code: 'function_unloadable', message });
    expect(await agent.exited).toBe(exitCode);
    expect(agent.received.filter(({ name }) => name === 'ready' || name === 'failed')).toHaveLength(1);
  });

  it('its own stack frames only, relative to its folder, after what it printed', async () => {
    const agent = startAgent('bad-throws', { entry: 'index.mjs' });
    const { details } = await agent.failed();
    expect(details?.stack).toEqual(['at connect (lib/database.mjs:3:9)', 'at lib/database.mjs:5:1']);
    expect(agent.outcome(0).stdout).toBe('connecting\n');
  });
});
