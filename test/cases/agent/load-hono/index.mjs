import { Hono } from 'hono';
const app = new Hono();
app.get('/hello/:name', (c) => c.json({ hello: c.req.param('name'), agent: c.req.header('user-agent'), id: c.env.id }));
app.post('/later', async (c) => {
  c.executionCtx.waitUntil(Promise.resolve());
  return c.text(await c.req.text(), 201, { 'x-app': 'hono' });
});
export default app;
