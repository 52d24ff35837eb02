/** `fetch(request, context)`: web-standard requests and responses, and streams both ways under back-pressure. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { answerWindowBytes, encodeWindow } from '../../../services/contracts/frames.ts';
import { endAgents, type RunningAgent, startAgent } from './running-agent.ts';

let agent: RunningAgent;
beforeAll(async () => {
  agent = startAgent('web', { entry: 'index.mjs' });
  await agent.ready();
});
afterAll(endAgents);

describe('a request', () => {
  it('has the url of the host header, the headers and the body', async () => {
    const headers = ['host', 'shop.test:8080', 'x-a', 'b'];
    const { body } = await agent.call({ path: '/text?q=%20', headers, method: 'POST' }, 'sent');
    expect(body.toString()).toBe('http://shop.test:8080/text?q=%20 b sent');
  });

  it('reaches the function also with a host header that is none', async () => {
    const { body } = await agent.call({ path: '/text', headers: ['host', '@:/'] });
    expect(body.toString()).toBe('http://localhost/text null ');
  });

  it('of a method that a Request cannot have is refused', async () => {
    expect((await agent.call({ path: '/text', method: 'TRACE' })).error?.code).toBe('method_not_allowed');
  });
});

describe('a response', () => {
  it('keeps each set-cookie header', async () => {
    const { head } = await agent.call({ path: '/cookies' });
    expect(head?.headers).toEqual(['set-cookie', 'a=1', 'set-cookie', 'b=2; Path=/']);
  });

  it('that is complete at once leaves in one frame', async () => {
    const { head, frames } = await agent.call({ path: '/text' });
    expect(head).toMatchObject({ status: 200, end: true });
    expect(frames).toEqual(['head', 'settled']);
  });

  it('of status 304 and to HEAD has no body', async () => {
    expect((await agent.call({ path: '/304' })).head).toMatchObject({
      status: 304,
      headers: ['etag', '"1"'],
      end: true,
    });
    const head = await agent.call({ path: '/text', method: 'HEAD' });
    expect(head.body).toHaveLength(0);
    expect(head.frames).toEqual(['head', 'settled']);
  });

  it('may redirect', async () => {
    const { head } = await agent.call({ path: '/redirect' });
    expect(head).toMatchObject({ status: 307, headers: ['location', 'http://elsewhere.test/'] });
  });

  const wrong = [
    { path: '/nothing', message: 'fetch returned undefined, expected a Response' },
    { path: '/string', message: 'fetch returned a string, expected a Response' },
    { path: '/error', message: 'Response.error() cannot be sent; use a status of 200 to 599' },
    { path: '/used', message: 'the body of the Response was read already; return a clone' },
  ];
  it.each(wrong)('that cannot be sent is an error: $path', async ({ path, message }) => {
    expect((await agent.call({ path })).error).toEqual({ code: 'result_not_serializable', message });
  });

  it('is streamed: each chunk leaves when it is there', async () => {
    const stream = agent.request({ path: '/ticks' });
    await agent.frame('head', stream);
    expect(agent.outcome(stream).frames).not.toContain('end');
    const { body, frames } = await agent.settled(stream);
    expect(body.toString()).toBe('tick 0;tick 1;tick 2;');
    expect(frames.filter((name) => name === 'data').length).toBeGreaterThanOrEqual(2);
  });

  it('that breaks in the middle ends with an error frame', async () => {
    const { body, error, frames } = await agent.call({ path: '/breaks' });
    expect(body.toString()).toBe('part');
    expect(error).toMatchObject({ code: 'handler_error', message: 'the source broke' });
    expect(frames).toEqual(['head', 'data', 'error', 'settled']);
  });
});

describe('back-pressure', () => {
  it('stops an endless answer at the credit, goes on with more, and ends at cancel', async () => {
    agent.grants = false;
    const stream = agent.request({ path: '/endless' });
    const data = () =>
      agent.received
        .filter((one) => one.name === 'data' && one.stream === stream)
        .reduce((sum, { payload }) => sum + payload.byteLength, 0);
    await agent.until('the credit used', () => (data() === answerWindowBytes ? true : undefined));
    await ping(agent);
    expect(data()).toBe(answerWindowBytes);
    agent.send('window', stream, encodeWindow(100_000));
    await agent.until('more', () => (data() === answerWindowBytes + 100_000 ? true : undefined));
    agent.send('cancel', stream);
    const { frames, stdout } = await agent.settled(stream);
    agent.grants = true;
    expect(frames.at(-1)).toBe('settled');
    expect(frames).not.toContain('end');
    expect(stdout).toContain('aborted: AbortError');
    const pulled = Number(/cancelled after (\d+)/.exec(stdout)?.[1]);
    expect(pulled).toBeLessThan(answerWindowBytes * 2 + 100_000);
  });

  it('sends a large body in pieces as the credit allows', async () => {
    const { body, frames } = await agent.call({ path: '/large' });
    expect(body).toHaveLength(3_000_000);
    expect(frames.slice(-2)).toEqual(['end', 'settled']);
  });

  it('echoes a streamed body of 4 MiB while it still arrives, granting at most 256 KiB ahead', async () => {
    const stream = agent.request({ path: '/echo', method: 'POST', streamed: true });
    const chunk = Buffer.alloc(32 * 1024, 'abcdefg');
    const total = 4 * 1024 * 1024;
    for (let sent = 0; sent < total; sent += chunk.byteLength) {
      await agent.until('credit', () => (agent.granted(stream) >= sent + chunk.byteLength ? true : undefined));
      expect(agent.granted(stream) - sent).toBeLessThanOrEqual(256 * 1024);
      agent.send('data', stream, chunk);
    }
    expect(agent.outcome(stream).head?.status).toBe(200);
    agent.send('end', stream);
    const { body, head } = await agent.settled(stream);
    expect(head?.headers).toEqual(['x-method', 'POST']);
    expect(body).toHaveLength(total);
    expect(body.subarray(-chunk.byteLength).equals(chunk)).toBe(true);
  });

  it('grants nothing for a body that nobody reads', async () => {
    const stream = agent.request({ path: '/unread', method: 'POST', streamed: true });
    expect((await agent.settled(stream)).body.toString()).toBe('not read');
    expect(agent.granted(stream)).toBe(0);
    // What crosses with the answer is dropped.
    agent.send('end', stream);
    agent.send('cancel', stream);
    await ping(agent);
  });

  it('grants no more than 256 KiB to a reader that stops', async () => {
    const stream = agent.request({ path: '/slow-reader', method: 'POST', streamed: true });
    await agent.until('credit', () => (agent.granted(stream) > 0 ? true : undefined));
    agent.send('data', stream, Buffer.alloc(60 * 1024));
    await ping(agent);
    expect(agent.granted(stream)).toBeLessThanOrEqual(256 * 1024 + 60 * 1024);
    agent.send('cancel', stream);
    expect((await agent.settled(stream)).frames.filter((name) => name !== 'window')).toEqual(['settled']);
  });
});

/** Answered only after everything before it was handled. */
async function ping(target: RunningAgent): Promise<void> {
  const before = target.received.length;
  target.send('ping', 0, String(before));
  await target.until('pong', () =>
    target.received.find((one) => one.name === 'pong' && one.payload.toString() === String(before)),
  );
  await delay(0);
}
