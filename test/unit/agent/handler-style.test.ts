/** `handler(event, context)`: what the event is, what becomes of each kind of result, and what the context holds. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { endAgents, type RunningAgent, startAgent } from './running-agent.ts';

let agent: RunningAgent;
beforeAll(async () => {
  agent = startAgent('results', { entry: 'index.mjs' });
  await agent.ready();
});
afterAll(endAgents);

const typed = (type: string) => ({ path: '/event?q=1', headers: ['host', 'h.test', 'content-type', type] });
const json = (body: Buffer) => JSON.parse(body.toString());

describe('the event is', () => {
  const events = [
    { what: 'the query without a body', type: 'application/json', body: '', event: { q: '1' } },
    { what: 'the value of a JSON body', type: 'application/json; charset=utf-8', body: '{"a":[1]}', event: { a: [1] } },
    { what: 'the value of a +json body', type: 'application/vnd.x+json', body: '"s"', event: 's' },
    { what: 'a string for text', type: 'text/plain', body: 'täxt', event: 'täxt' },
    {
      what: 'the fields of a form',
      type: 'application/x-www-form-urlencoded',
      body: 'a=1&b=2&a=3',
      event: { a: ['1', '3'], b: '2' },
    },
    { what: 'bytes for any other body', type: 'image/png', body: '\x00\x01', event: { bytes: [0, 1] } },
  ];
  it.each(events)('$what', async ({ type, body, event }) => {
    expect(json((await agent.call(typed(type), body)).body).event).toEqual(event);
  });

  it('text in the charset that the request names', async () => {
    const { body } = await agent.call(typed('text/plain; charset=iso-8859-1'), Buffer.from([0x74, 0xe4]));
    expect(json(body).event).toBe('tä');
  });

  it('not made of a body that is not JSON: the caller learns where it fails', async () => {
    const { error, frames } = await agent.call(typed('application/json'), '{\n  "a": 1,\n  "b": }');
    expect(error).toEqual({
      code: 'invalid_request',
      message: "request body is not JSON: Unexpected token '}' at line 3 column 8",
      details: { line: 3, column: 8 },
    });
    expect(frames).toEqual(['error', 'settled']);
  });

  it('whole also when its body was streamed, however it was cut', async () => {
    const text = JSON.stringify({ text: 'x'.repeat(700_000) });
    const stream = agent.request({ ...typed('application/json'), method: 'POST', streamed: true });
    for (let sent = 0; sent < text.length; ) {
      const credit = await agent.until('credit', () =>
        agent.granted(stream) > sent ? agent.granted(stream) - sent : undefined,
      );
      const piece = text.slice(sent, sent + Math.min(credit, 60_000));
      agent.send('data', stream, piece);
      sent += piece.length;
    }
    agent.send('end', stream);
    expect(json((await agent.settled(stream)).body).event.text).toHaveLength(700_000);
  });
});

describe('a result becomes an answer:', () => {
  const results = [
    { path: '/undefined', status: 204, headers: [], body: '' },
    { path: '/null', status: 200, headers: ['content-type', 'application/json'], body: 'null' },
    { path: '/string', status: 200, headers: ['content-type', 'text/plain; charset=utf-8'], body: 'täxt' },
    { path: '/number', status: 200, headers: ['content-type', 'application/json'], body: '4.5' },
    { path: '/bytes', status: 200, headers: ['content-type', 'application/octet-stream'], body: [0, 255, 1] },
    { path: '/buffer', status: 200, headers: ['content-type', 'application/octet-stream'], body: [9, 8] },
    { path: '/generator', status: 200, headers: ['content-type', 'application/octet-stream'], body: 'one two' },
    { path: '/stream', status: 200, headers: ['content-type', 'application/octet-stream'], body: 'from a blob' },
    {
      path: '/response',
      status: 418,
      headers: ['content-type', 'text/plain;charset=UTF-8', 'x-kind', 'response'],
      body: 'teapot',
    },
    {
      path: '/proxy',
      status: 202,
      headers: [
        'x-one',
        '1',
        'content-type',
        'text/html',
        'x-many',
        'a',
        'x-many',
        'b',
        'set-cookie',
        'c=1',
        'set-cookie',
        'd=2',
      ],
      body: '<p>',
    },
    { path: '/proxy-base64', status: 200, headers: ['content-type', 'application/octet-stream'], body: [0, 255] },
  ];
  it.each(results)('$path with status $status', async ({ path, status, headers, body }) => {
    const outcome = await agent.call({ path });
    expect(outcome.head).toMatchObject({ status, headers });
    expect(outcome.head?.handlerMs).toBeGreaterThanOrEqual(0);
    expect(outcome.body).toEqual(Buffer.from(body as string));
  });

  it('a large one arrives whole, in pieces within the credit', async () => {
    const { body, frames } = await agent.call({ path: '/large' });
    expect(body).toHaveLength(1_000_000);
    expect(frames[0]).toBe('head');
    expect(frames.slice(-2)).toEqual(['end', 'settled']);
  });

  it('HEAD gets the head alone', async () => {
    const { head, body, frames } = await agent.call({ path: '/generator', method: 'HEAD' });
    expect(head).toMatchObject({ status: 200, end: true });
    expect(body).toHaveLength(0);
    expect(frames).toEqual(['head', 'settled']);
  });
});

describe('a result that cannot be sent is an error that says where:', () => {
  const wrong = [
    { path: '/bigint', message: 'the result cannot be sent as JSON: result.items[1].id is a BigInt' },
    {
      path: '/cycle',
      message: 'the result cannot be sent as JSON: result.inner.list[1] is result.inner again, a cycle',
    },
    { path: '/function', message: 'the result cannot be sent as JSON: result is a function' },
    { path: '/proxy-status', message: 'statusCode 99: expected an integer from 200 to 599' },
    { path: '/proxy-header', message: 'header "x-bad": value "a\\r\\nset-cookie: b" has a forbidden character' },
  ];
  it.each(wrong)('$path', async ({ path, message }) => {
    const { error, frames } = await agent.call({ path });
    expect(error).toEqual({ code: 'result_not_serializable', message });
    expect(frames).toEqual(['error', 'settled']);
  });

  it('a chunk that is no bytes, in the middle of an answer', async () => {
    const { error, body, frames } = await agent.call({ path: '/bad-chunk' });
    expect(body.toString()).toBe('fine');
    expect(error?.message).toBe("the answer's stream gave a chunk of type object, expected a string or bytes");
    expect(frames).toEqual(['head', 'error', 'settled']);
  });
});

describe('the context', () => {
  it('holds what the function may know, and is frozen', async () => {
    const other = startAgent('context', { entry: 'index.mjs' });
    await other.ready();
    const deadlineMs = Date.now() + 20_000;
    const { body } = await other.call({ path: '/a/b?c=d&c=e', headers: ['x-a', '1', 'x-a', '2'], deadlineMs });
    expect(json(body)).toEqual({
      frozen: true,
      id: 'invocation-1',
      function: 'sample',
      version: 7,
      memoryBytes: 128 * 1024 * 1024,
      deadlineMs,
      remaining: true,
      aborted: false,
      request: { method: 'GET', path: '/a/b', query: { c: ['d', 'e'] }, headers: { 'x-a': '1, 2' } },
    });
  });
});
