import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';

let finished = 0;
const text = (string) => new TextEncoder().encode(string);

const answers = {
  /** Three pieces; each later one only after the client has asked for it with a request of its own. */
  '/stream': (_, __, { searchParams }) =>
    new Response(
      new ReadableStream({
        async pull(controller) {
          const key = searchParams.get('key');
          const piece = pieces.get(key) ?? { count: 0, next: Promise.withResolvers() };
          pieces.set(key, piece);
          if (piece.count > 0) await piece.next.promise;
          piece.next = Promise.withResolvers();
          controller.enqueue(text(`piece ${piece.count++}\n`));
          if (piece.count === 3) controller.close();
        },
      }),
      { headers: { 'content-type': 'text/plain' } },
    ),
  '/next': (_, __, { searchParams }) => {
    const piece = pieces.get(searchParams.get('key'));
    piece?.next.resolve();
    return new Response(String(piece?.count));
  },
  /** Counts and hashes the body as it comes. */
  '/digest': async (request) => {
    const hash = createHash('sha256');
    let bytes = 0;
    let chunks = 0;
    for await (const chunk of request.body ?? []) {
      hash.update(chunk);
      bytes += chunk.byteLength;
      chunks++;
    }
    return Response.json({ bytes, chunks, sha256: hash.digest('hex') });
  },
  /** Gives each chunk back as it comes. */
  '/echo': (request) => new Response(request.body, { headers: { 'content-type': 'application/octet-stream' } }),
  '/large': (_, __, { searchParams }) => new Response(Buffer.alloc(Number(searchParams.get('bytes')), 'stoke ')),
  '/cookies': () => {
    const headers = new Headers({ 'x-own': 'value' });
    headers.append('set-cookie', 'a=1; Path=/');
    headers.append('set-cookie', 'b=2, with a comma');
    return new Response('two cookies', { status: 201, headers });
  },
  '/empty': () => new Response(null, { status: 204 }),
  '/redirect': () => new Response(null, { status: 302, headers: { location: '/elsewhere' } }),
  '/teapot': () => new Response('short and stout', { status: 418 }),
  '/late': (_, context) => {
    context.waitUntil(
      delay(100).then(() => {
        finished++;
        console.log('finished after the answer');
      }),
    );
    return new Response(String(finished));
  },
  '/finished': () => new Response(String(finished)),
  '/print': () => {
    console.log('to stdout');
    console.error('to stderr');
    return new Response('printed');
  },
  '/break': () =>
    new Response(
      new ReadableStream({
        async pull(controller) {
          controller.enqueue(text('the beginning'));
          await delay(20);
          controller.error(new Error('the rest is lost'));
        },
      }),
    ),
};
const pieces = new Map();

export default {
  fetch(request, context) {
    const url = new URL(request.url);
    return answers[url.pathname]?.(request, context, url) ?? new Response('no such path', { status: 404 });
  },
};
