export default {
  async fetch(request, context) {
    const { pathname } = new URL(request.url);
    if (pathname === '/echo') return new Response(request.body, { headers: { 'x-method': request.method } });
    if (pathname === '/text') return new Response(`${request.url} ${request.headers.get('x-a')} ${await request.text()}`);
    if (pathname === '/cookies') return new Response(null, { headers: [['set-cookie', 'a=1'], ['set-cookie', 'b=2; Path=/']] });
    if (pathname === '/304') return new Response(null, { status: 304, headers: { etag: '"1"' } });
    if (pathname === '/error') return Response.error();
    if (pathname === '/nothing') return;
    if (pathname === '/string') return 'just text';
    if (pathname === '/used') { const used = new Response('x'); await used.text(); return used; }
    if (pathname === '/redirect') return Response.redirect('http://elsewhere.test/', 307);
    if (pathname === '/large') return new Response('x'.repeat(3_000_000));
    if (pathname === '/slow-reader') {
      const reader = request.body.getReader();
      await reader.read();
      await new Promise((resolve) => context.signal.addEventListener('abort', resolve));
    }
    if (pathname === '/unread') return new Response('not read');
    if (pathname === '/endless') return endless(context);
    if (pathname === '/ticks') return ticks();
    if (pathname === '/breaks') return breaks();
    return new Response('not found', { status: 404 });
  },
};
let pulled = 0;
function endless(context) {
  pulled = 0;
  context.signal.addEventListener('abort', () => console.log(`aborted: ${context.signal.reason.name}`));
  return new Response(new ReadableStream({
    pull(controller) { pulled += 16384; controller.enqueue(new Uint8Array(16384)); },
    cancel() { console.log(`cancelled after ${pulled}`); },
  }));
}
function ticks() {
  let tick = 0;
  return new Response(new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (tick === 3) return controller.close();
      controller.enqueue(new TextEncoder().encode(`tick ${tick++};`));
    },
  }));
}
function breaks() {
  let sent = false;
  return new Response(new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (sent) throw new Error('the source broke');
      sent = true;
      controller.enqueue(new TextEncoder().encode('part'));
    },
  }));
}
