import { setTimeout as delay } from 'node:timers/promises';

/** Says that it ran, and takes a while for every other key, so that some calls are always under way. */
export default {
  async fetch(request) {
    const key = Number(new URL(request.url).searchParams.get('key'));
    console.log(`ran ${key}`);
    if (key % 2 === 1) await delay(250);
    return new Response(`ran ${key}`);
  },
};
