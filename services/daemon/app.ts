/** The daemon's HTTP API (`contracts/daemon-api.ts`) as a function of what it works with. */
import type { IncomingMessage, RequestListener } from 'node:http';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import type { Containers, ImageStore } from '../../runtime/index.ts';
import { containerIdSchema, type DaemonHealth, digestSchema, imageRequestSchema } from '../contracts/daemon-api.ts';
import { StokeError } from '../contracts/errors.ts';
import { handleError, notFound, readJson } from '../platform/http.ts';
import type { Log } from '../platform/log.ts';
import { toApiError } from './errors.ts';
import type { Images } from './images.ts';
import type { Runtimes } from './runtimes.ts';
import { serveSession } from './session-connection.ts';
import type { Sessions } from './sessions.ts';

export interface DaemonDependencies {
  readonly containers: Containers;
  readonly store: ImageStore;
  readonly images: Images;
  readonly sessions: Sessions;
  readonly runtimes: () => Runtimes;
  readonly health: () => DaemonHealth;
  readonly log: Log;
}

type Env = { Bindings: HttpBindings };

/** The whole API. Sessions go around Hono: both their bodies stay open. */
export function createListener(dependencies: DaemonDependencies): RequestListener {
  const listen = getRequestListener(createApp(dependencies).fetch, { hostname: 'daemon' });
  return (incoming, outgoing) => {
    if (incoming.method === 'POST' && incoming.url === '/v1/sessions') serveSession(incoming, outgoing, dependencies);
    else void listen(incoming, outgoing);
  };
}

function createApp(dependencies: DaemonDependencies): Hono<Env> {
  const { containers, images, runtimes, log } = dependencies;
  const app = new Hono<Env>();
  const onError = handleError(log);
  app.onError((error, context) => onError(toApiError(error) as Error, context));
  app.notFound(notFound);

  app.get('/v1/health', (context) => context.json(dependencies.health()));

  app.get('/v1/containers', (context) => context.json(containers.list()));
  app.get('/v1/containers/:id/stats', (context) => context.json(containers.stats(containerId(context))));
  app.delete('/v1/containers/:id', async (context) => context.json(await containers.remove(containerId(context))));

  // Hono answers HEAD by the route of GET.
  app.get('/v1/layers/:digest', (context) => {
    const size = images.layerSize(digest(context));
    if (size === undefined) return context.body(null, 404);
    return context.body(null, 200, { 'content-length': String(size) });
  });
  app.put('/v1/layers/:digest', async (context) => {
    const stored = await images.putLayer(digest(context), context.env.incoming as IncomingMessage);
    return context.json(stored, stored.created ? 201 : 200);
  });
  app.post('/v1/images', async (context) => {
    const created = await images.create(await readJson(context, imageRequestSchema));
    return context.json(created, created.created ? 201 : 200);
  });
  app.get('/v1/images', async (context) => context.json(await images.list()));
  app.delete('/v1/images/:digest', async (context) => {
    await images.remove(digest(context));
    return context.body(null, 204);
  });

  app.put('/v1/networks/:key', (context) => {
    const key = parse(containerIdSchema, context.req.param('key'), 'network key');
    for (const { zygote } of runtimes().values()) zygote.prepareNetwork(key);
    return context.body(null, 204);
  });
  app.delete('/v1/networks/:key', (context) => {
    const key = parse(containerIdSchema, context.req.param('key'), 'network key');
    for (const { zygote } of runtimes().values()) zygote.dropNetwork(key);
    return context.body(null, 204);
  });
  return app;
}

function containerId(context: Context): string {
  return parse(containerIdSchema, context.req.param('id'), 'container id');
}

function digest(context: Context): string {
  return parse(digestSchema, context.req.param('digest'), 'digest');
}

function parse(schema: typeof digestSchema, text: string | undefined, what: string): string {
  const parsed = schema.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new StokeError('invalid_request', `${what} "${text}": ${parsed.error.issues[0]?.message}`);
}
