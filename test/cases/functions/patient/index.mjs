import { setTimeout as delay } from 'node:timers/promises';

export default {
  async fetch(request, context) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === '/throw') throw new RangeError('what everyone may know');
    if (pathname === '/body') return new Response(String((await request.arrayBuffer()).byteLength));
    console.log(`begun ${searchParams.get('key')}`);
    try {
      await delay(Number(searchParams.get('ms') ?? 8000), undefined, { signal: context.signal });
    } catch {
      console.log(`aborted: ${context.signal.reason.message}`);
    }
    return new Response('done');
  },
};
