/** What a function prints: to which invocation it belongs, and what becomes of too much of it. */
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { endAgents, type RunningAgent, startAgent } from './running-agent.ts';

afterEach(endAgents);

async function startPrints(concurrency = 1): Promise<RunningAgent> {
  const agent = startAgent('prints', { entry: 'index.mjs', concurrency });
  await agent.ready();
  return agent;
}

const dropped = /… (\d+) bytes of output dropped\n/g;
const bytesDropped = (stderr: string) =>
  [...stderr.matchAll(dropped)].reduce((sum, match) => sum + Number(match[1]), 0);

describe('output', () => {
  it('of an invocation goes to its stream, that of loading to the instance', async () => {
    const agent = await startPrints();
    const { stdout, stderr } = await agent.call({ path: '/?name=x' });
    expect(stdout).toBe('out 1 { a: 1 }\nno newline bytes ☃\nwritten\n');
    expect(stderr).toBe('latn1\nerr x\n');
    expect(agent.outcome(0).stdout).toBe('while loading\n');
    expect(agent.raw).toBe('');
  });

  it('of invocations at the same time is kept apart', async () => {
    const agent = startAgent('pairs', { entry: 'index.mjs', concurrency: 2 });
    await agent.ready();
    const streams = [agent.request({ path: '/?name=a' }), agent.request({ path: '/?name=b' })];
    const [first, second] = await Promise.all(streams.map((stream) => agent.settled(stream)));
    expect(first).toMatchObject({ stdout: 'arrived a\na met b\n' });
    expect(first?.body.toString()).toBe('first a');
    expect(second).toMatchObject({ stdout: 'arrived b\n' });
    expect(second?.body.toString()).toBe('second b');
  });

  it('of code left running after the end belongs to the instance, also while another invocation runs', async () => {
    const agent = await startPrints();
    const first = agent.request({ path: '/leftover' });
    await agent.settled(first);
    const second = await agent.call({ path: '/?wait=50' });
    expect(agent.outcome(first).stdout).toBe('');
    expect(second.stdout).not.toContain('leftover');
    expect(agent.outcome(0).stdout).toBe('while loading\nleftover\n');
  });

  it('that floods is cut, counted and noted, and grows no memory', async () => {
    const agent = await startPrints();
    // The worker does not read: the agent must neither wait nor keep it all.
    agent.socket.pause();
    const stream = agent.request({ path: '/flood' });
    await cpuIdle(agent.pid);
    agent.socket.resume();
    const { stdout, stderr, body, frames } = await agent.settled(stream);
    expect(frames).toEqual(['head', 'settled']);
    expect(Number(body)).toBeLessThan(8 * 1024 * 1024);
    const printed = Array.from({ length: 3000 }, (_, line) => `${line} ${'x'.repeat(5000)}\n`).join('').length;
    expect(Buffer.byteLength(stdout)).toBeLessThan(3 * 1024 * 1024);
    expect(Buffer.byteLength(stdout) + bytesDropped(stderr)).toBe(printed);
  });

  it('in one huge piece is cut at characters', async () => {
    const agent = await startPrints();
    agent.socket.pause();
    const stream = agent.request({ path: '/huge' });
    await cpuIdle(agent.pid);
    agent.socket.resume();
    const { stdout, stderr } = await agent.settled(stream);
    expect(stdout).toMatch(/^ä+$/);
    expect(Buffer.byteLength(stdout) + bytesDropped(stderr)).toBe(20_000_001);
  });
});

/** Resolves once the process has used CPU time and then none for a while: what it had to do is done. */
async function cpuIdle(pid: number): Promise<void> {
  const ticks = () => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ');
    return Number(fields[13]) + Number(fields[14]);
  };
  const first = ticks();
  for (let last = -1, same = 0; same < 10 || last === first; ) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    const now = ticks();
    same = now === last ? same + 1 : 0;
    last = now;
  }
}
