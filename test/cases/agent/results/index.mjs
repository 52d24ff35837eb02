// One result per path, or what the event was.
const cycle = { name: 'cycle', inner: { list: [1] } };
cycle.inner.list.push(cycle.inner);
const results = {
  '/undefined': () => undefined,
  '/null': () => null,
  '/string': () => 'täxt',
  '/number': () => 4.5,
  '/bytes': () => Buffer.from([0, 255, 1]),
  '/buffer': () => new Uint8Array([9, 8]).buffer,
  '/response': () => new Response('teapot', { status: 418, headers: { 'x-kind': 'response' } }),
  '/generator': async function* () { yield 'one '; yield Buffer.from('two'); },
  '/stream': () => new Blob(['from a blob']).stream(),
  '/bad-chunk': async function* () { yield 'fine'; await new Promise((resolve) => setImmediate(resolve)); yield { not: 'fine' }; },
  '/proxy': () => ({
    statusCode: 202,
    headers: { 'X-One': 1, 'content-type': 'text/html' },
    multiValueHeaders: { 'X-Many': ['a', 'b'] },
    cookies: ['c=1', 'd=2'],
    body: '<p>',
  }),
  '/proxy-base64': () => ({ statusCode: 200, body: 'AP8=', isBase64Encoded: true }),
  '/proxy-header': () => ({ statusCode: 200, headers: { 'x-bad': 'a\r\nset-cookie: b' } }),
  '/proxy-status': () => ({ statusCode: 99 }),
  '/bigint': () => ({ items: [{ id: 1 }, { id: 2n }] }),
  '/cycle': () => cycle,
  '/function': () => () => 1,
  '/large': () => 'x'.repeat(1_000_000),
};
export const handler = (event, context) => {
  const result = results[context.request.path];
  return result ? result() : { event: event instanceof Uint8Array ? { bytes: [...event] } : event, type: typeof event };
};
