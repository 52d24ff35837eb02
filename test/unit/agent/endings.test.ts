/** How invocations and instances end when it is not by an answer: errors, exits, cancel, deadline, a broken protocol. */
import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { encodeFrame, frameTypes } from '../../../services/contracts/frames.ts';
import { endAgents, type RunningAgent, startAgent } from './running-agent.ts';

async function startEndings(concurrency = 1): Promise<RunningAgent> {
  const agent = startAgent('endings', { entry: 'index.mjs', concurrency });
  await agent.ready();
  return agent;
}

describe('a handler that throws', () => {
  let agent: RunningAgent;
  beforeAll(async () => {
    agent = await startEndings();
  });
  afterAll(endAgents);

  it('is reported with its message, name and own stack frames; the instance lives on', async () => {
    const { error, frames } = await agent.call({ path: '/throw' });
    expect(error).toMatchObject({ code: 'handler_error', message: 'it broke', details: { name: 'RangeError' } });
    const stack = error?.details?.stack as string[];
    expect(stack[0]).toBe('at fail (lib/fail.mjs:2:9)');
    expect(stack[1]).toMatch(/index\.mjs:\d+:\d+\)$/);
    expect(stack.join()).not.toMatch(/node:|templates/);
    expect(frames).toEqual(['error', 'settled']);
  });

  const thrown = [
    { path: '/reject', message: 'rejected', name: 'OddError' },
    { path: '/string', message: "threw 'a string'", name: 'string' },
    { path: '/object', message: 'threw { code: 7 }', name: 'object' },
    { path: '/undefined', message: 'threw undefined', name: 'undefined' },
    { path: '/hostile', message: 'threw a value that cannot be shown', name: 'object' },
  ];
  it.each(thrown)('may throw anything: $path', async ({ path, message, name }) => {
    const { error } = await agent.call({ path });
    expect(error).toMatchObject({ code: 'handler_error', message, details: { name } });
  });

  it('and promises of waitUntil hold the slot after the answer, and are logged when they fail', async () => {
    const stream = agent.request({ path: '/wait' });
    await agent.frame('head', stream);
    expect(agent.outcome(stream).frames).toEqual(['head']);
    const { frames, stdout, stderr } = await agent.settled(stream);
    expect(frames).toEqual(['head', 'settled']);
    expect(stdout).toBe('waited\n');
    expect(stderr).toMatch(/^waitUntil: Error: late failure\n/);
  });

  it('is told by its signal when the caller goes away, and sends nothing but settled', async () => {
    const stream = agent.request({ path: '/signal' });
    agent.send('cancel', stream);
    const { frames, stdout } = await agent.settled(stream);
    expect(frames).toEqual(['settled']);
    expect(stdout).toBe('aborted: AbortError\n');
  });

  it('is told by its signal shortly before the deadline', async () => {
    const deadlineMs = Date.now() + 150;
    const { body, stdout } = await agent.call({ path: '/signal', deadlineMs });
    expect(Date.now()).toBeLessThan(deadlineMs + 100);
    expect(stdout).toBe('aborted: TimeoutError\n');
    expect(body.toString()).toBe('too late');
  });
});

describe('an instance ends', () => {
  afterEach(endAgents);

  it('when the function exits: the invocation learns the code, after what it printed', async () => {
    const agent = await startEndings();
    const stream = agent.request({ path: '/exit' });
    expect(await agent.exited).toBe(7);
    const { error, stdout, frames } = agent.outcome(stream);
    expect(error).toMatchObject({ code: 'instance_exited', details: { exitCode: 7 } });
    expect(stdout).toBe('last line\n');
    expect(frames).toEqual(['error']);
  });

  it('with its last words whole, also when the worker was slow to read what it printed before', async () => {
    const agent = await startEndings();
    agent.socket.pause();
    const stream = agent.request({ path: '/backlog-exit' });
    // More than the socket's buffers hold: the rest waits in the agent when it exits.
    await waitsToWrite(agent.pid);
    agent.socket.resume();
    expect(await agent.exited).toBe(7);
    const { error, stdout } = agent.outcome(stream);
    expect(stdout).toHaveLength(9 * 100_000);
    expect(error).toMatchObject({ code: 'instance_exited', details: { exitCode: 7 } });
  });

  it('with the code in process.exitCode', async () => {
    const agent = await startEndings();
    agent.request({ path: '/loop-exit' });
    expect(await agent.exited).toBe(4);
  });

  const uncaught = [
    { path: '/uncaught', message: 'from a timer', printed: 'uncaught RangeError: from a timer' },
    { path: '/unhandled', message: 'nobody listens', printed: 'uncaught Error: nobody listens' },
    { path: '/unhandled-string', message: expect.stringContaining('"plain"'), printed: 'plain' },
  ];
  it.each(uncaught)('by an exception that nobody caught, as the error of the only invocation: $path', async (one) => {
    const agent = await startEndings();
    const stream = agent.request({ path: one.path });
    expect(await agent.exited).toBe(1);
    const { error, stderr, frames } = agent.outcome(stream);
    expect(error).toMatchObject({ code: 'handler_error', message: one.message });
    expect(stderr).toContain(one.printed);
    expect(frames).toEqual(['error']);
  });

  it('by an exception that belongs to none of several invocations: all learn why', async () => {
    const agent = await startEndings(2);
    const streams = [agent.request({ path: '/never' }), agent.request({ path: '/uncaught' })];
    expect(await agent.exited).toBe(1);
    for (const stream of streams) {
      const { error } = agent.outcome(stream);
      expect(error?.code).toBe('instance_exited');
      expect(error?.message).toContain('RangeError: from a timer');
    }
  });

  it('by an exception after the answer, which is in the log of the instance', async () => {
    const agent = await startEndings();
    expect((await agent.call({ path: '/after' })).body.toString()).toBe('answered');
    expect(await agent.exited).toBe(1);
    expect(agent.outcome(0).stderr).toMatch(/^uncaught RangeError: after the answer\n/);
  });

  it('not by an exception that the function has a listener for', async () => {
    const agent = startAgent('own-listener', { entry: 'index.mjs' });
    await agent.ready();
    const { body, stdout } = await agent.call();
    expect(body.toString()).toBe('went on');
    expect(stdout).toBe('own listener: mine\n');
  });

  it('at once when the worker is gone, in the middle of an invocation', async () => {
    const agent = await startEndings();
    agent.request({ path: '/never' });
    agent.socket.destroy();
    expect(await agent.exited).toBe(0);
  });

  const violations: { what: string; says: string; bytes: Buffer }[] = [
    { what: 'a frame that is too long', says: 'frame of 4294967295 bytes', bytes: Buffer.alloc(9, 0xff) },
    { what: 'an unknown type', says: 'unknown frame type 99', bytes: encodeFrame(99 as never, 1) },
    {
      what: 'a frame that is not for it',
      says: 'type 6 is not for an instance',
      bytes: encodeFrame(frameTypes.head, 1, '{}'),
    },
    {
      what: 'a head that is no JSON',
      says: 'not JSON',
      bytes: encodeFrame(frameTypes.request, 1, Buffer.from([0, 0, 0, 1, 0x7b])),
    },
    { what: 'a head without a path', says: 'wrong "path"', bytes: request({ path: undefined }) },
    {
      what: 'data that was not granted',
      says: '300000 bytes of request body, 262144 granted',
      bytes: Buffer.concat([request({ streamed: true }), encodeFrame(frameTypes.data, 1, Buffer.alloc(300_000))]),
    },
    {
      what: 'more invocations than its concurrency',
      says: 'more than 1 invocations',
      bytes: Buffer.concat([request({}), request({}, 2)]),
    },
  ];
  it.each(violations)('when the worker sends $what', async ({ bytes, says }) => {
    const agent = await startEndings();
    agent.socket.write(bytes);
    expect(await agent.exited).toBe(1);
    expect(agent.raw).toContain(says);
  });
});

function request(change: Record<string, unknown>, stream = 1): Buffer {
  const base = { id: 'i', method: 'GET', path: '/never', headers: [], deadlineMs: Date.now() + 9000, streamed: false };
  const head = Buffer.from(JSON.stringify({ ...base, ...change }));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(head.byteLength);
  return encodeFrame(frameTypes.request, stream, Buffer.concat([length, head]));
}

/** Resolves once the process sleeps in a futex, which is how last words wait for room. */
async function waitsToWrite(pid: number): Promise<void> {
  while (!readFileSync(`/proc/${pid}/wchan`, 'utf8').includes('futex')) await new Promise(setImmediate);
}
