import { Hono } from 'hono';
import { cors } from 'hono/cors';

const app = new Hono();

app.use(cors());
app.get('/', (context) => context.text('the root'));
app.get('/users/:id', (context) => context.json({ id: context.req.param('id'), page: context.req.query('page') }));
app.post('/users', async (context) => context.json(await context.req.json<{ name: string }>(), 201));

export default app;
