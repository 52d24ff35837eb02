import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Call } from './fake-worker.ts';
import { type Platform, startPlatform } from './platform.ts';

let platform: Platform;

beforeEach(async () => {
  platform = await startPlatform();
  await platform.addFunction({ name: 'hello' });
});
afterEach(() => platform.close());

const url = () => `${platform.url}/fn/hello`;

const answerWith = (text: string) => (call: Call) => {
  call.started();
  call.head({}, text);
};

async function codeOf(response: Response) {
  return ((await response.json()) as { error: { code: string } }).error.code;
}

/** A worker that takes calls and leaves them, and the first call that it got. */
async function silentWorker(begin: (call: Call) => void = () => undefined) {
  const first = Promise.withResolvers<Call>();
  const worker = await platform.worker((call) => {
    begin(call);
    first.resolve(call);
  });
  return { worker, first: first.promise };
}

describe('without a worker', () => {
  it('a call waits for one to come', async () => {
    const response = fetch(url());
    await vi.waitFor(async () => expect((await status()).gateway.inFlight).toBe(1));
    await platform.worker(answerWith('late'));
    expect(await (await response).text()).toBe('late');
  });

  it('a call is answered 503 after five seconds, or at its deadline', { timeout: 10_000 }, async () => {
    await platform.addFunction({ name: 'brief', timeout: 0.1 });
    const brief = await fetch(`${platform.url}/fn/brief`);
    expect(brief.status).toBe(503);
    const began = performance.now();
    const response = await fetch(url());
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).toBe('1');
    expect(await codeOf(response)).toBe('no_capacity');
    expect(performance.now() - began).toBeGreaterThan(4900);
  });
});

describe('when a worker goes away', () => {
  it('what had not started moves to another', async () => {
    const { worker, first } = await silentWorker();
    const response = fetch(url());
    await first;
    await worker.kill();
    await platform.worker(answerWith('moved'));
    expect(await (await response).text()).toBe('moved');
  });

  it('what had started is answered 502, and is not run again', async () => {
    const { worker, first } = await silentWorker((call) => call.started());
    const response = fetch(url());
    await first;
    // The started frame and the end of the connection come in this order.
    await worker.kill();
    expect((await response).status).toBe(502);
    expect(await codeOf(await response)).toBe('worker_lost');
    const second = await platform.worker(answerWith('again'));
    await fetch(url());
    expect(second.calls.size).toBe(1);
  });

  it('an answer that had begun is seen as broken', async () => {
    const { worker, first } = await silentWorker((call) => {
      call.started();
      call.head({ end: false }, 'begin');
    });
    const response = await fetch(url());
    await first;
    await worker.kill();
    await expect(response.text()).rejects.toThrow();
  });

  it('it is noticed within four seconds when it only stops answering', { timeout: 10_000 }, async () => {
    const { worker, first } = await silentWorker();
    worker.answersPings = false;
    const began = performance.now();
    const response = fetch(url());
    await first;
    await worker.closed.promise;
    expect(performance.now() - began).toBeLessThan(4500);
    await platform.worker(answerWith('moved'));
    expect(await (await response).text()).toBe('moved');
  });

  it('a newer worker of the node takes over, and the queue of the older one is deleted', async () => {
    const { worker, first } = await silentWorker();
    const response = fetch(url());
    await first;
    const newer = await platform.worker(answerWith('newer'));
    await worker.closed.promise;
    expect(await (await response).text()).toBe('newer');
    await worker.kill();
    const redis = new Redis(platform.volatile.path);
    try {
      await vi.waitFor(async () => expect(await redis.keys(`bull:${worker.queue}:*`)).toEqual([]));
      expect((await redis.keys(`bull:${newer.queue}:*`)).length).toBeGreaterThan(0);
    } finally {
      redis.disconnect();
    }
  });
});

describe('when the caller goes away before the start', () => {
  it('the call is cancelled', async () => {
    const { first } = await silentWorker();
    const abort = new AbortController();
    const response = fetch(url(), { signal: abort.signal });
    const call = await first;
    abort.abort();
    await expect(response).rejects.toThrow();
    await call.cancelled.promise;
  });
});

describe('when the volatile Redis ends and comes back empty', () => {
  it('calls of that time wait for it, and are run once', async () => {
    const worker = await platform.worker(answerWith('done'));
    expect((await fetch(url())).status).toBe(200);
    await platform.volatile.kill();
    const response = fetch(url());
    await vi.waitFor(async () => expect((await status()).gateway.inFlight).toBe(1));
    await platform.volatile.start();
    expect(await (await response).text()).toBe('done');
    expect(worker.calls.size).toBe(2);
  });

  it('what was in the queue and had not started is enqueued again', { timeout: 10_000 }, async () => {
    // A worker that greets and has not begun to take jobs: its queue holds the call when Redis dies.
    const worker = await platform.worker(answerWith('done'), { paused: true });
    const response = fetch(url());
    const redis = new Redis(platform.volatile.path);
    await vi.waitFor(async () => expect(await redis.llen(`bull:${worker.queue}:wait`)).toBe(1));
    redis.disconnect();
    await platform.volatile.kill();
    await platform.volatile.start();
    worker.resume();
    expect(await (await response).text()).toBe('done');
  });

  it('calls whose way into the queue broke off are enqueued again, and later ones are not held up', async () => {
    await platform.worker(answerWith('done'));
    // Stopped, it leaves the first jobs unanswered until it is killed.
    platform.volatile.pause();
    const responses = Promise.all(Array.from({ length: 5 }, () => fetch(url())));
    await vi.waitFor(async () => expect((await status()).gateway.inFlight).toBe(5), { timeout: 3000 });
    await platform.volatile.kill();
    await platform.volatile.start();
    for (const response of await responses) expect(await response.text()).toBe('done');
    expect(await (await fetch(url())).text()).toBe('done');
  });

  it('a call gets 503 with Retry-After when it stays away for three seconds', { timeout: 10_000 }, async () => {
    await platform.worker(answerWith('never'));
    await platform.volatile.kill();
    const response = await fetch(url());
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).toBe('1');
    expect(await codeOf(response)).toBe('unavailable');
    expect((await fetch(`${platform.url}/readyz`)).status).toBe(503);
  });
});

describe('when the volatile Redis takes commands and does not answer', () => {
  it('a call gets 503, and calls go on once it answers again', { timeout: 15_000 }, async () => {
    const worker = await platform.worker(answerWith('done'));
    expect((await fetch(url())).status).toBe(200);
    platform.volatile.pause();
    try {
      expect((await fetch(url())).status).toBe(503);
    } finally {
      platform.volatile.resume();
    }
    await vi.waitFor(async () => expect((await status()).redis.volatile).toBe(true), { timeout: 5000 });
    expect(await (await fetch(url())).text()).toBe('done');
    // The call that was given up is not run by the queue that remembers it.
    expect(worker.calls.size).toBe(2);
  });
});

describe('when the durable Redis is away', () => {
  it('known functions go on working, others get 503, and changes are seen once it is back', async () => {
    await platform.addFunction({ name: 'other' });
    await platform.worker((call) => {
      call.started();
      call.head({}, String(call.item.version));
    });
    expect(await (await fetch(url())).text()).toBe('1');
    await platform.durable.kill();
    expect(await (await fetch(url())).text()).toBe('1');
    const unknown = await fetch(`${platform.url}/fn/other`);
    expect(unknown.status).toBe(503);
    expect(unknown.headers.get('retry-after')).toBe('1');
    await platform.durable.start();
    await vi.waitFor(async () => expect((await status()).redis.durable).toBe(true));
    // This test's Redis keeps nothing on disk: it has come back without any function.
    await vi.waitFor(async () => expect((await fetch(url())).status).toBe(404));
  });
});

describe('when a function changes', () => {
  it('the next call goes to the new version, and a function that was missing is found', async () => {
    await platform.worker((call) => {
      call.started();
      call.head({}, String(call.item.version));
    });
    expect(await (await fetch(url())).text()).toBe('1');
    await platform.addFunction({ name: 'hello' });
    await vi.waitFor(async () => expect(await (await fetch(url())).text()).toBe('2'));
    expect((await fetch(`${platform.url}/fn/young`)).status).toBe(404);
    await platform.addFunction({ name: 'young' });
    await vi.waitFor(async () => expect((await fetch(`${platform.url}/fn/young`)).status).toBe(200));
  });
});

async function status() {
  return (await (await fetch(`${platform.url}/api/v1/status`)).json()) as {
    gateway: { inFlight: number };
    redis: { durable: boolean; volatile: boolean };
  };
}
