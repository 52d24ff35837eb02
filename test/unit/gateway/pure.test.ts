import { describe, expect, it } from 'vitest';
import { functionConfigSchema, type VersionRecord } from '../../../services/contracts/function.ts';
import { Admission, admissionLimit } from '../../../services/gateway/admission.ts';
import { contentDigest } from '../../../services/gateway/deploy.ts';
import { withVersion } from '../../../services/gateway/function-store.ts';
import { functionAnswerHeaders, requestHeaders, serverTiming } from '../../../services/gateway/headers.ts';
import { chooseWorker } from '../../../services/gateway/placement.ts';
import { parseTarget } from '../../../services/gateway/target.ts';
import { someDigest } from './platform.ts';

describe('the target of a call', () => {
  it.each([
    ['/fn/hello', 'hello', '/'],
    ['/fn/hello/', 'hello', '/'],
    ['/fn/hello?x=1', 'hello', '/?x=1'],
    ['/fn/hello/a/b?x=/y', 'hello', '/a/b?x=/y'],
    ['/fn/hello?x=/y', 'hello', '/?x=/y'],
    ['/fn/hello/a%2Fb/../c', 'hello', '/a%2Fb/../c'],
    ['/fn/', '', '/'],
  ])('%s means %s with %s', (url, name, path) => {
    expect(parseTarget(url)).toEqual({ name, path });
  });
});

describe('headers towards the function', () => {
  const client = { address: '10.0.0.9', functionName: 'hello' };

  it('lose what was meant for this hop only', () => {
    const raw = [
      'Connection',
      'close, X-Private',
      'X-Private',
      '1',
      'Keep-Alive',
      '5',
      'TE',
      'trailers',
      'Trailer',
      'x',
      'Transfer-Encoding',
      'chunked',
      'Upgrade',
      'h2c',
      'Proxy-Authorization',
      'secret',
      'Expect',
      '100-continue',
      'Accept',
      '*/*',
    ];
    expect(requestHeaders(raw, client).slice(0, 2)).toEqual(['accept', '*/*']);
    expect(requestHeaders(raw, client)).not.toContain('x-private');
  });

  it('tell who asked for what, after what earlier proxies told', () => {
    expect(requestHeaders(['Host', 'example.org:8080'], client)).toEqual([
      'host',
      'example.org:8080',
      'x-forwarded-for',
      '10.0.0.9',
      'x-forwarded-proto',
      'http',
      'x-forwarded-host',
      'example.org:8080',
      'x-forwarded-prefix',
      '/fn/hello',
    ]);
    const behindProxy = [
      'X-Forwarded-For',
      '1.2.3.4',
      'X-Forwarded-Proto',
      'https',
      'Host',
      'inner',
      'X-Forwarded-Host',
      'outer',
    ];
    expect(requestHeaders(behindProxy, client)).toEqual([
      'host',
      'inner',
      'x-forwarded-for',
      '1.2.3.4, 10.0.0.9',
      'x-forwarded-proto',
      'https',
      'x-forwarded-host',
      'outer',
      'x-forwarded-prefix',
      '/fn/hello',
    ]);
  });

  it('keep a header that comes several times as several', () => {
    expect(requestHeaders(['Cookie', 'a', 'Cookie', 'b'], client).slice(0, 4)).toEqual(['cookie', 'a', 'cookie', 'b']);
  });
});

describe('headers of the function', () => {
  it('lose hop-by-hop and platform names, and give their length apart', () => {
    const answer = functionAnswerHeaders([
      'Content-Type',
      'text/plain',
      'Connection',
      'close',
      'Transfer-Encoding',
      'chunked',
      'Content-Length',
      '12',
      'X-Fn-Invocation-Id',
      'forged',
      'Server-Timing',
      'x',
      'Set-Cookie',
      'a',
      'Set-Cookie',
      'b',
    ]);
    expect(answer).toEqual({
      list: ['content-type', 'text/plain', 'set-cookie', 'a', 'set-cookie', 'b'],
      contentLength: 12,
    });
  });

  it.each([
    [['x']],
    [['', 'v']],
    [['a b', 'v']],
    [['a:', 'v']],
    [['a', 'v\n']],
    [['a', '\0']],
    [['a', 'ž']],
    [['content-length', '-1']],
  ])('are refused when HTTP cannot carry them: %j', (headers) => {
    expect(() => functionAnswerHeaders(headers)).toThrow(expect.objectContaining({ code: 'protocol_violation' }));
  });
});

describe('stage times', () => {
  it('name the stages that were reached, and are never negative', () => {
    expect(serverTiming({ queueMs: -0.2, startMs: 1.23456, handlerMs: undefined, totalMs: 3 })).toBe(
      'queue;dur=0, start;dur=1.235, total;dur=3',
    );
  });
});

describe('admission', () => {
  it('lets run what can run, and ten times as many wait, from 100 to 2,000', () => {
    expect(admissionLimit({ maxInstances: 1, concurrency: 1 })).toBe(101);
    expect(admissionLimit({ maxInstances: 32, concurrency: 1 })).toBe(32 + 320);
    expect(admissionLimit({ maxInstances: 100, concurrency: 64 })).toBe(6400 + 2000);
  });

  it('counts each function by itself, and gives a place back when a call has left', () => {
    const admission = new Admission();
    const first = admission.enter('a', 1);
    expect(admission.enter('a', 1)).toBeUndefined();
    expect(admission.enter('b', 1)).toBeDefined();
    expect(admission.inFlight).toBe(2);
    admission.leave(first as NonNullable<typeof first>);
    expect(admission.enter('a', 1)).toBeDefined();
  });
});

describe('placement', () => {
  it('takes the better of two different candidates', () => {
    const candidates = [{ inFlight: 5 }, { inFlight: 1 }, { inFlight: 9 }];
    const picks = [0, 0];
    expect(chooseWorker(candidates, () => picks.shift() ?? 0)).toBe(candidates[1]);
    const last = [0.99, 0];
    expect(chooseWorker(candidates, () => last.shift() ?? 0)).toBe(candidates[0]);
    expect(chooseWorker([], Math.random)).toBeUndefined();
  });
});

describe('versions of a function record', () => {
  const config = functionConfigSchema.parse({ name: 'hello' });
  const version = (number: number): VersionRecord => ({
    function: 'hello',
    version: number,
    image: someDigest,
    digest: someDigest,
    entry: 'index.ts',
    stripped: true,
    config,
    createdAtMs: number,
  });

  it('stand in ascending order, and the highest is current whichever deploy ended last', () => {
    const three = withVersion(undefined, version(3)).record;
    const both = withVersion(three, version(2)).record;
    expect(both.current).toBe(3);
    expect(both.versions.map((listed) => listed.version)).toEqual([2, 3]);
  });

  it('are at most ten, the oldest dropped', () => {
    let record = withVersion(undefined, version(1)).record;
    for (let number = 2; number <= 10; number++) record = withVersion(record, version(number)).record;
    const next = withVersion(record, version(11));
    expect(next.record.versions).toHaveLength(10);
    expect(next.dropped.map((listed) => listed.version)).toEqual([1]);
  });
});

describe('the digest of a version', () => {
  const content = (config: Record<string, unknown>, entry = 'index.ts') => ({
    entry,
    stripped: true,
    config: functionConfigSchema.parse({ name: 'hello', ...config }),
  });

  it('does not depend on the order in which settings are written, nor on where the schema lies', () => {
    const one = contentDigest(someDigest, content({ env: { A: '1', B: '2' }, $schema: 'x' }));
    const two = contentDigest(someDigest, content({ env: { B: '2', A: '1' } }));
    expect(one).toBe(two);
    expect(one).toMatch(/^sha256:[0-9a-f]{64}$/);
  });

  it('changes with the code, the entry and each setting', () => {
    const digests = [
      contentDigest(someDigest, content({})),
      contentDigest(someDigest.replace('a', 'b'), content({})),
      contentDigest(someDigest, content({}, 'other.ts')),
      contentDigest(someDigest, content({ env: { A: '1' } })),
      contentDigest(someDigest, content({ memory: '256Mi' })),
    ];
    expect(new Set(digests).size).toBe(digests.length);
  });
});
