/**
 * The gateway's management API, below `/api/v1`. Errors are `{"error": ErrorBody}`.
 *
 * | call | does |
 * |---|---|
 * | `HEAD /api/v1/layers/:digest`, `PUT /api/v1/layers/:digest` | is the layer there; upload an uncompressed tar |
 * | `POST /api/v1/functions` `DeployRequest` | a new version, `201`; the same content again, `200`: `Deployed` |
 * | `GET /api/v1/functions` | `{functions: FunctionSummary[]}` |
 * | `GET /api/v1/functions/:name`, `DELETE …` | `FunctionDetail`; `204` |
 * | `GET /api/v1/functions/:name/logs?invocation&tail&follow` | NDJSON of `LogEntry` |
 * | `GET /api/v1/status` | `PlatformStatus` |
 * | `GET /schemas/fn.json` | the JSON Schema of `fn.json` |
 * | `GET /healthz`, `GET /readyz` | the process lives; calls can be answered |
 */
import { z } from 'zod';
import { digestSchema } from './daemon-api.ts';
import { functionConfigSchema } from './function.ts';
import { workerStatusSchema } from './invocation.ts';

/** Largest sum of a deploy's layers. */
export const maxDeployBytes = 250 * 1024 * 1024;

export const deployRequestSchema = z.strictObject({
  /** `fn.json` as written. */
  config: functionConfigSchema,
  /** Lowest first: dependencies, then code. Each uploaded before. */
  layers: z.array(digestSchema).min(1).max(8),
  /** Entry module, relative to the folder. */
  entry: z
    .string()
    .min(1)
    .max(1024)
    .refine((entry) => !entry.startsWith('/') && !entry.split('/').includes('..'), 'expected a path inside the folder'),
  stripped: z.boolean(),
  /** Start an instance before the version is taken into use, and refuse the deploy if it does not load. */
  verify: z.boolean().default(true),
});
export type DeployRequest = z.input<typeof deployRequestSchema>;

export const deployedSchema = z.object({
  function: z.string(),
  version: z.int(),
  digest: digestSchema,
  /** False when the newest version already had this content. */
  created: z.boolean(),
  /** Path of the function on the gateway. */
  path: z.string(),
  /** Start of the verifying instance, HTTP excluded; null when not verified. */
  verifyMs: z.number().nullable(),
});
export type Deployed = z.infer<typeof deployedSchema>;

export const functionSummarySchema = z.object({
  name: z.string(),
  version: z.int(),
  runtime: z.string(),
  memory: z.string(),
  updatedAtMs: z.number(),
  path: z.string(),
});
export type FunctionSummary = z.infer<typeof functionSummarySchema>;

export const functionDetailSchema = z.object({
  name: z.string(),
  current: z.int(),
  path: z.string(),
  config: functionConfigSchema,
  entry: z.string(),
  image: digestSchema,
  digest: digestSchema,
  versions: z.array(z.object({ version: z.int(), digest: digestSchema, createdAtMs: z.number() })),
});
export type FunctionDetail = z.infer<typeof functionDetailSchema>;

export const platformStatusSchema = z.object({
  gateway: z.object({ session: z.string(), inFlight: z.int(), uptimeMs: z.number() }),
  /** Each true only when a round trip just succeeded. */
  redis: z.object({ durable: z.boolean(), volatile: z.boolean() }),
  workers: z.array(workerStatusSchema),
  ready: z.boolean(),
});
export type PlatformStatus = z.infer<typeof platformStatusSchema>;
