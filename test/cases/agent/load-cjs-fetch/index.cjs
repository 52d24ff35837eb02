module.exports = { fetch: () => new Response('cjs fetch') };
