import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Call } from './fake-worker.ts';
import { type Platform, startPlatform } from './platform.ts';

let platform: Platform;
let serve: (call: Call) => void;

beforeAll(async () => {
  platform = await startPlatform({ STOKE_MAX_BODY: '1Mi' });
  await platform.addFunction({ name: 'hello' });
  await platform.addFunction({ name: 'open', exposeErrors: true });
  await platform.addFunction({ name: 'brief', timeout: 0.2 });
  await platform.addFunction({ name: 'narrow', maxInstances: 1 });
  await platform.worker((call) => serve(call));
});
afterAll(() => platform.close());

const ok = (call: Call) => {
  call.started();
  call.head({ headers: ['content-type', 'text/plain'] }, 'hello');
};

async function errorOf(response: Response) {
  return ((await response.json()) as { error: { code: string; message: string; details?: Record<string, unknown> } })
    .error;
}

/** A request with everything in the test's hands. */
function raw(options: RequestOptions & { path: string }) {
  const outgoing = httpRequest({ host: '127.0.0.1', port: platform.port, ...options });
  const response = once(outgoing, 'response').then(([incoming]) => incoming as IncomingMessage);
  return { outgoing, response };
}

describe('a call of a function', () => {
  it('passes method, path, query, headers and body through, and brings status, headers and body back', async () => {
    let seen: Call | undefined;
    serve = (call) => {
      seen = call;
      call.started({ start: 'cold', waitMs: 4 });
      call.head(
        { status: 201, headers: ['x-own', '1', 'set-cookie', 'a=1', 'set-cookie', 'b=2'] },
        Buffer.from([0, 255]),
      );
    };
    const response = await fetch(`${platform.url}/fn/hello/a/b%2Fc?x=1&y=%20`, {
      method: 'PUT',
      body: Buffer.from([1, 2, 254]),
      headers: { 'X-Mine': 'yes' },
    });
    expect(seen?.item).toMatchObject({ function: 'hello', version: 1, method: 'PUT', path: '/a/b%2Fc?x=1&y=%20' });
    expect(seen?.body).toEqual(Buffer.from([1, 2, 254]));
    expect(seen?.item.headers).toContain('x-mine');
    expect(response.status).toBe(201);
    expect(response.headers.get('x-own')).toBe('1');
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
    expect(response.headers.get('content-length')).toBe('2');
    expect(Buffer.from(await response.arrayBuffer())).toEqual(Buffer.from([0, 255]));
  });

  it('tells id, version, kind of start and stage times on the answer', async () => {
    let id = '';
    serve = (call) => {
      id = call.item.id;
      call.started({ start: 'prewarmed', waitMs: 1.5 });
      call.head({ handlerMs: 2.25, headers: ['x-fn-version', 'forged', 'server-timing', 'forged;dur=1'] });
    };
    const { headers } = await fetch(`${platform.url}/fn/hello`);
    expect(headers.get('x-fn-invocation-id')).toBe(id);
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
    expect(headers.get('x-fn-version')).toBe('1');
    expect(headers.get('x-fn-start')).toBe('prewarmed');
    expect(headers.get('server-timing')).toMatch(
      /^queue;dur=[\d.]+, start;dur=1.5, handler;dur=2.25, total;dur=[\d.]+$/,
    );
  });

  it('answers HEAD without a body and keeps the length that the function declares', async () => {
    serve = (call) => {
      call.started();
      call.head({ headers: ['content-length', '1234'] });
    };
    const response = await fetch(`${platform.url}/fn/hello`, { method: 'HEAD' });
    expect(response.headers.get('content-length')).toBe('1234');
    expect(await response.text()).toBe('');
  });

  it('answers many calls at a time, each its own, and puts several into one job', async () => {
    serve = (call) => {
      call.started();
      call.head({}, call.body);
    };
    const bodies = Array.from({ length: 200 }, (_, index) => `call ${index}`);
    const answers = await Promise.all(
      bodies.map(async (body) => (await fetch(`${platform.url}/fn/hello`, { method: 'POST', body })).text()),
    );
    expect(answers).toEqual(bodies);
  });
});

describe('errors of a call', () => {
  it('are 404 for a function that is not there, and for a name that none can have', async () => {
    for (const name of ['nobody', 'NOT%20A%20NAME', '']) {
      const response = await fetch(`${platform.url}/fn/${name}`);
      expect(response.status).toBe(404);
      expect((await errorOf(response)).code).toBe('function_not_found');
      expect(response.headers.get('x-fn-invocation-id')).toBeTruthy();
      expect(response.headers.get('server-timing')).toMatch(/^total;dur=/);
    }
  });

  it('are 500 without its message when the handler threw, and with it when the function exposes errors', async () => {
    serve = (call) => {
      call.started();
      call.error({ code: 'handler_error', message: 'secret', details: { stack: 'at x', name: 'TypeError' } });
    };
    const hidden = await fetch(`${platform.url}/fn/hello`);
    expect(hidden.status).toBe(500);
    expect(hidden.headers.get('x-fn-start')).toBe('warm');
    expect(await errorOf(hidden)).toEqual({
      code: 'handler_error',
      message: 'the function threw an error; its log has the message',
      details: { invocation: hidden.headers.get('x-fn-invocation-id') },
    });
    const open = await errorOf(await fetch(`${platform.url}/fn/open`));
    expect(open.message).toBe('secret');
    expect(open.details).toMatchObject({ name: 'TypeError' });
    expect(open.details).not.toHaveProperty('stack');
  });

  it.each([
    ['instance_exited', 502],
    ['out_of_memory', 502],
    ['start_failed', 502],
    ['result_not_serializable', 500],
    ['no_capacity', 503],
  ] as const)('the worker says %s as %i', async (code, status) => {
    serve = (call) => call.error({ code, message: 'because', details: { limitBytes: 1 } });
    const response = await fetch(`${platform.url}/fn/hello`);
    expect(response.status).toBe(status);
    expect(await errorOf(response)).toMatchObject({ code, message: 'because', details: { limitBytes: 1 } });
    expect(response.headers.get('retry-after')).toBe(status === 503 ? '1' : null);
  });

  it('are 502 when the answer headers cannot go over HTTP', async () => {
    for (const headers of [
      ['bad name', 'x'],
      ['x-split', 'a\r\nx-injected: 1'],
      ['x-wide', '☃'],
      ['content-length', 'many'],
    ]) {
      serve = (call) => {
        call.started();
        call.head({ headers }, 'x');
      };
      const response = await fetch(`${platform.url}/fn/hello`);
      expect(response.status).toBe(502);
      expect((await errorOf(response)).code).toBe('protocol_violation');
    }
  });

  it('are 504 from the worker, with the stage that used the time', async () => {
    serve = (call) =>
      call.error({ code: 'deadline_exceeded', message: 'no answer within 0.2 s', details: { stage: 'start' } });
    const response = await fetch(`${platform.url}/fn/brief`);
    expect(response.status).toBe(504);
    expect((await errorOf(response)).details).toMatchObject({ stage: 'start' });
  });

  it('are 504 from the gateway when the worker says nothing, which is then told to cancel', async () => {
    let call: Call | undefined;
    for (const [stage, begin] of [
      ['queue', () => undefined],
      ['handler', (current: Call) => current.started()],
    ] as const) {
      serve = (current) => {
        call = current;
        begin(current);
      };
      const response = await fetch(`${platform.url}/fn/brief`);
      expect(response.status).toBe(504);
      expect(await errorOf(response)).toMatchObject({ code: 'deadline_exceeded', details: { stage, timeoutMs: 200 } });
      await call?.cancelled.promise;
    }
  });

  it('are 429 with Retry-After once running and waiting are full, and calls go on when one has left', async () => {
    const held: Call[] = [];
    const full = Promise.withResolvers<void>();
    serve = (call) => {
      held.push(call);
      if (held.length === 101) full.resolve();
    };
    const running = Array.from({ length: 101 }, () => fetch(`${platform.url}/fn/narrow`));
    await full.promise;
    const refused = await fetch(`${platform.url}/fn/narrow`);
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect((await errorOf(refused)).code).toBe('concurrency_exceeded');
    for (const call of held) ok(call);
    for (const response of await Promise.all(running)) expect(response.status).toBe(200);
    serve = ok;
    expect((await fetch(`${platform.url}/fn/narrow`)).status).toBe(200);
  });

  it('are 413 at once for a declared length over the limit, before the function is asked', async () => {
    serve = () => expect.unreachable();
    const { outgoing, response } = raw({
      path: '/fn/hello',
      method: 'POST',
      headers: { 'content-length': 2 ** 20 + 1 },
    });
    outgoing.flushHeaders();
    const answer = await response;
    expect(answer.statusCode).toBe(413);
    outgoing.destroy();
  });

  it('are 413 in the middle of a chunked body that grows over the limit, and the function is cancelled', async () => {
    let call: Call | undefined;
    serve = (current) => {
      call = current;
      current.started();
      current.grant(4 * 2 ** 20);
    };
    const { outgoing, response } = raw({ path: '/fn/hello', method: 'POST' });
    outgoing.on('error', () => undefined);
    for (let sent = 0; sent <= 2 ** 20; sent += 2 ** 16) outgoing.write(Buffer.alloc(2 ** 16));
    const answer = await response;
    expect(answer.statusCode).toBe(413);
    await call?.cancelled.promise;
    outgoing.destroy();
  });

  it('are 400 for a request that is not HTTP', async () => {
    const { connect } = await import('node:net');
    const socket = connect(platform.port, '127.0.0.1');
    socket.write('this is not http\r\n\r\n');
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).toString()).toMatch(/^HTTP\/1.1 400 .*invalid_request/s);
  });
});

describe('a streamed request body', () => {
  it('is sent as far as the function grants, in order, and ends', async () => {
    const body = Buffer.alloc(300_000, 'abcdefg');
    const received = Promise.withResolvers<Call>();
    serve = (call) => {
      call.started();
      expect(call.item.body).toBeNull();
      let granted = 10_000;
      let got = 0;
      call.onData = (bytes) => {
        got += bytes;
        expect(got).toBeLessThanOrEqual(granted);
        if (got === granted) {
          granted += 50_000;
          call.grant(50_000);
        }
      };
      call.grant(granted);
      call.uploadEnded.promise.then(() => {
        call.head({}, 'thanks');
        received.resolve(call);
      });
    };
    const response = await fetch(`${platform.url}/fn/hello`, { method: 'POST', body });
    expect(await response.text()).toBe('thanks');
    expect((await received.promise).body.equals(body)).toBe(true);
  });

  it('of no bytes at all ends without any grant', async () => {
    serve = (call) => {
      call.uploadEnded.promise.then(() => call.head({}, `got ${call.body.byteLength}`));
      call.started();
    };
    const { outgoing, response } = raw({
      path: '/fn/hello',
      method: 'POST',
      headers: { 'transfer-encoding': 'chunked' },
    });
    outgoing.end();
    const answer = await response;
    expect((await answer.toArray()).join('')).toBe('got 0');
  });

  it('holds the client back while nothing is granted', async () => {
    const begun = Promise.withResolvers<Call>();
    serve = (call) => {
      call.started();
      begun.resolve(call);
    };
    const { outgoing, response } = raw({ path: '/fn/hello', method: 'POST' });
    outgoing.write(Buffer.alloc(1000));
    const call = await begun.promise;
    for (let i = 0; i < 15; i++) outgoing.write(Buffer.alloc(60_000));
    outgoing.end();
    // A round trip through everything: had bytes been sent without a grant, they would be here.
    serve = ok;
    await (await fetch(`${platform.url}/fn/hello`)).text();
    expect(call.uploaded).toHaveLength(0);
    call.uploadEnded.promise.then(() => call.head({}, String(call.body.byteLength)));
    call.grant(2 ** 20);
    expect((await (await response).toArray()).join('')).toBe(String(15 * 60_000 + 1000));
  });

  it('is cancelled when the client sends half of it and hangs up', async () => {
    const begun = Promise.withResolvers<Call>();
    serve = (call) => {
      call.started();
      begun.resolve(call);
    };
    const { outgoing, response } = raw({ path: '/fn/hello', method: 'POST', headers: { 'content-length': 200_000 } });
    response.catch(() => undefined);
    outgoing.on('error', () => undefined);
    outgoing.write(Buffer.alloc(100_000));
    const call = await begun.promise;
    call.grant(150_000);
    outgoing.destroy();
    await call.cancelled.promise;
  });
});

describe('a streamed answer', () => {
  it('arrives piece by piece', async () => {
    const begun = Promise.withResolvers<Call>();
    serve = (call) => {
      call.started();
      call.head({ end: false, headers: ['content-type', 'text/event-stream'] });
      begun.resolve(call);
    };
    const response = await fetch(`${platform.url}/fn/hello`);
    const call = await begun.promise;
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    for (const text of ['one', 'two']) {
      call.data(text);
      expect(Buffer.from((await reader.read()).value as Uint8Array).toString()).toBe(text);
    }
    call.end();
    expect((await reader.read()).done).toBe(true);
  });

  it('gives credit back only as the client reads', async () => {
    const total = 24 * 2 ** 20;
    const chunk = Buffer.alloc(64 * 1024, 'x');
    let sent = 0;
    let stalledAt: number | undefined;
    const stalled = Promise.withResolvers<void>();
    serve = (call) => {
      call.started();
      call.head({ end: false });
      let credit = 256 * 1024;
      const pump = () => {
        while (credit >= chunk.byteLength && sent < total) {
          call.data(chunk);
          sent += chunk.byteLength;
          credit -= chunk.byteLength;
        }
        if (sent === total) call.end();
      };
      call.onWindow = () => {
        credit += call.windowBytes;
        call.windowBytes = 0;
        pump();
      };
      pump();
    };
    const { outgoing, response } = raw({ path: '/fn/hello' });
    outgoing.end();
    const answer = await response;
    answer.pause();
    // The sender stands still once the kernel's buffers and the window are full.
    const watch = setInterval(() => {
      if (stalledAt === sent) stalled.resolve();
      stalledAt = sent;
    }, 100);
    await stalled.promise;
    clearInterval(watch);
    expect(sent).toBeLessThan(total);
    let received = 0;
    for await (const part of answer) received += (part as Buffer).byteLength;
    expect(received).toBe(total);
  });

  it('is seen as broken when the function fails in the middle of it', async () => {
    const begun = Promise.withResolvers<Call>();
    serve = (call) => {
      call.started();
      call.head({ end: false }, 'begin');
      begun.resolve(call);
    };
    const response = await fetch(`${platform.url}/fn/hello`);
    expect(response.status).toBe(200);
    (await begun.promise).error({ code: 'instance_exited', message: 'gone' });
    await expect(response.text()).rejects.toThrow();
  });

  it('is seen as broken when it is shorter or longer than its content-length', async () => {
    for (const length of ['100', '3']) {
      serve = (call) => {
        call.started();
        call.head({ end: false, headers: ['content-length', length] });
        call.data('12345');
        call.end();
      };
      const text = fetch(`${platform.url}/fn/hello`).then((response) => response.text());
      await expect(text).rejects.toThrow();
    }
  });

  it('is cancelled when the client goes away', async () => {
    const begun = Promise.withResolvers<Call>();
    serve = (call) => {
      call.started();
      call.head({ end: false }, 'begin');
      begun.resolve(call);
    };
    const { outgoing, response } = raw({ path: '/fn/hello' });
    outgoing.end();
    (await response).destroy();
    await (await begun.promise).cancelled.promise;
  });
});

describe('clients that hang up at any moment', () => {
  it('leave no call behind and harm no other', async () => {
    const chunk = Buffer.alloc(32 * 1024);
    serve = (call) => {
      call.started();
      call.grant(2 ** 18);
      call.head({ end: false, headers: ['content-length', String(4 * chunk.byteLength)] }, chunk);
      for (let i = 0; i < 5; i++) call.data(chunk);
      call.end();
    };
    const hangUps = Array.from({ length: 150 }, async (_, index) => {
      const { outgoing, response } = raw({ path: '/fn/hello', method: 'POST' });
      outgoing.on('error', () => undefined);
      response.catch(() => undefined);
      outgoing.write(Buffer.alloc(1000 * index));
      if (index % 3 === 0) await response.catch(() => undefined);
      else for (let turn = 0; turn < index % 7; turn++) await new Promise(setImmediate);
      outgoing.destroy();
    });
    await Promise.all(hangUps);
    await vi.waitFor(async () => {
      const status = (await (await fetch(`${platform.url}/api/v1/status`)).json()) as { gateway: { inFlight: number } };
      expect(status.gateway.inFlight).toBe(0);
    });
    serve = ok;
    expect(await (await fetch(`${platform.url}/fn/hello`)).text()).toBe('hello');
  });
});
