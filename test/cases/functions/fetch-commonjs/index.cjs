module.exports = { fetch: () => new Response('from a CommonJS module') };
