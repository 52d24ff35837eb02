/** The management API's routes (`contracts/management-api.ts`). */
import type { HttpBindings } from '@hono/node-server';
import { Hono, type MiddlewareHandler } from 'hono';
import { z } from 'zod';
import { StokeError } from '../contracts/errors.ts';
import { describeIssues, functionConfigSchema, functionNameSchema } from '../contracts/function.ts';
import { type WorkerStatus, workerStatusSchema } from '../contracts/invocation.ts';
import {
  deployRequestSchema,
  type FunctionDetail,
  type FunctionSummary,
  type PlatformStatus,
} from '../contracts/management-api.ts';
import { handleError, methodNotAllowed, notFound, readJson } from '../platform/http.ts';
import type { Admission } from './admission.ts';
import { type DeployDeps, deploy, remove } from './deploy.ts';
import type { StoredFunction } from './function-store.ts';
import { functionNotFound } from './invoke.ts';
import { headLayer, putLayer } from './layers.ts';

export interface ManagementDeps extends DeployDeps {
  readonly admission: Admission;
  readonly session: string;
  /** Each does a round trip now. */
  readonly redis: { durable(): Promise<boolean>; volatile(): Promise<boolean> };
}

type Env = { Bindings: HttpBindings };

const statusWithinMs = 2000;

export function createManagementApp(deps: ManagementDeps): Hono<Env> {
  const app = new Hono<Env>();
  app.onError(handleError(deps.log));
  app.notFound(notFound);

  app.use('/api/*', sameOrigin);

  // Hono routes HEAD as GET.
  app.get('/api/v1/layers/:digest', (c, next) =>
    c.req.method === 'HEAD' ? headLayer(deps.daemon, c.req.param('digest')) : next(),
  );
  app.put('/api/v1/layers/:digest', (c) => putLayer(deps.daemon, c.req.param('digest'), c.env.incoming));
  app.all('/api/v1/layers/:digest', methodNotAllowed('HEAD', 'PUT'));

  app.get('/api/v1/functions', async (c) => {
    const functions: FunctionSummary[] = (await deps.store.list()).map(summary);
    return c.json({ functions });
  });
  app.post('/api/v1/functions', async (c) => {
    const request = await readJson(c, deployRequestSchema, { code: 'invalid_config' });
    const deployed = await deploy(deps, request);
    return c.json(deployed, deployed.created ? 201 : 200);
  });
  app.all('/api/v1/functions', methodNotAllowed('GET', 'POST'));

  app.get('/api/v1/functions/:name', async (c) => c.json(detail(await find(deps, c.req.param('name')))));
  app.delete('/api/v1/functions/:name', async (c) => {
    const name = c.req.param('name');
    if (!(await remove(deps, name))) throw functionNotFound(name);
    deps.admission.forget(name);
    return c.body(null, 204);
  });
  app.all('/api/v1/functions/:name', methodNotAllowed('GET', 'DELETE'));

  app.get('/api/v1/functions/:name/logs', async (c) => {
    const { record } = await find(deps, c.req.param('name'));
    const query = parseLogQuery(c.req.query());
    const lines = await deps.workers.stream({ op: 'logs', function: record.name, ...query });
    return c.body(lines, 200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
  });
  app.all('/api/v1/functions/:name/logs', methodNotAllowed('GET'));

  app.get('/api/v1/status', async (c) => c.json(await status(deps)));
  app.all('/api/v1/status', methodNotAllowed('GET'));

  app.get('/schemas/fn.json', (c) => c.json(configJsonSchema));
  app.get('/healthz', (c) => c.text('ok\n'));
  app.get('/readyz', async (c) => {
    const missing = await missingParts(deps);
    if (missing.length === 0) return c.text('ok\n');
    throw new StokeError('unavailable', `not ready: ${missing.join(', ')}`, { details: { missing } });
  });
  return app;
}

/** For editors: what may be written in `fn.json`. */
const configJsonSchema = {
  title: 'fn.json',
  description: 'Settings of a Stoke function.',
  ...z.toJSONSchema(functionConfigSchema, { io: 'input' }),
};

/** A page of another site must not make a browser deploy or delete. */
const sameOrigin: MiddlewareHandler = async (context, next) => {
  const origin = context.req.header('origin');
  if (origin !== undefined && hostOf(origin) !== context.req.header('host')?.toLowerCase()) {
    throw new StokeError('forbidden', `origin "${origin}" is not this host; the API is not for other sites' pages`);
  }
  await next();
};

function hostOf(origin: string): string | undefined {
  return URL.parse(origin)?.host;
}

async function find(deps: ManagementDeps, name: string): Promise<StoredFunction> {
  const stored = functionNameSchema.safeParse(name).success ? await deps.store.get(name) : undefined;
  if (!stored) throw functionNotFound(name);
  return stored;
}

function summary({ record, version }: StoredFunction): FunctionSummary {
  return {
    name: record.name,
    version: record.current,
    runtime: version.config.runtime,
    memory: version.config.memory,
    updatedAtMs: version.createdAtMs,
    path: `/fn/${record.name}`,
  };
}

function detail({ record, version }: StoredFunction): FunctionDetail {
  return {
    name: record.name,
    current: record.current,
    path: `/fn/${record.name}`,
    config: version.config,
    entry: version.entry,
    image: version.image,
    digest: version.digest,
    versions: record.versions.map(({ version: number, digest, createdAtMs }) => ({
      version: number,
      digest,
      createdAtMs,
    })),
  };
}

const logQuerySchema = z.object({
  invocation: z.string().max(100).optional(),
  tail: z.coerce.number('expected a number').int().min(0).max(100_000).optional(),
  follow: z
    .enum(['', 'true', 'false', '1', '0'], 'expected true or false')
    .transform((text) => text !== 'false' && text !== '0')
    .default(false),
});

function parseLogQuery(query: Record<string, string>): { invocation?: string; tail?: number; follow: boolean } {
  const parsed = logQuerySchema.safeParse(query);
  if (!parsed.success) throw new StokeError('invalid_request', describeIssues(parsed.error));
  const { invocation, tail, follow } = parsed.data;
  return { follow, ...(invocation === undefined ? {} : { invocation }), ...(tail === undefined ? {} : { tail }) };
}

async function missingParts(deps: ManagementDeps): Promise<string[]> {
  const [durable, volatile] = await Promise.all([deps.redis.durable(), deps.redis.volatile()]);
  return [
    ...(durable ? [] : ['durable redis']),
    ...(volatile ? [] : ['volatile redis']),
    ...(deps.workers.connected > 0 ? [] : ['worker']),
  ];
}

async function status(deps: ManagementDeps): Promise<PlatformStatus> {
  const [durable, volatile, answers] = await Promise.all([
    deps.redis.durable(),
    deps.redis.volatile(),
    deps.workers.askAll({ op: 'status' }, statusWithinMs),
  ]);
  const workers = answers.flatMap((answer): WorkerStatus[] => {
    const parsed = workerStatusSchema.safeParse(answer);
    if (parsed.success) return [parsed.data];
    deps.log.warn({ reason: describeIssues(parsed.error) }, 'a worker told its status in another shape');
    return [];
  });
  return {
    gateway: {
      session: deps.session,
      inFlight: deps.admission.inFlight,
      uptimeMs: Math.round(process.uptime() * 1000),
    },
    redis: { durable, volatile },
    workers,
    ready: durable && volatile && workers.length > 0,
  };
}
