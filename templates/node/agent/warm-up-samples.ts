/** Functions that the zygote loads and calls while it warms up. As text: each is loaded from a file of its own kind. */
export const samples: Readonly<Record<string, string>> = {
  'package.json': '{}',
  'module.mjs': 'export const handler = async (event) => ({ hello: event.name });',
  'common.cjs': `const { join } = require('node:path');
module.exports.handler = async (event) => { console.log('%s', event.name); return join('/', 'a'); };`,
  'stripped.ts': `import { handler } from './module.mjs';
export default { async fetch(request) { return Response.json(await handler(await request.json())); } };`,
  'stream.cjs': `module.exports.fetch = () => new Response(new ReadableStream({
  start(controller) { controller.enqueue(new Uint8Array(9)); controller.close(); } }));`,
};

export const sampleEntries = ['module.mjs', 'common.cjs', 'stripped.ts', 'stream.cjs'] as const;
