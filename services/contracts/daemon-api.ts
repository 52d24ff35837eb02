/**
 * The daemon's API: HTTP on the unix socket `<run>/daemon.sock`. Errors are `{"error": ErrorBody}`.
 *
 * | call | does |
 * |---|---|
 * | `GET /v1/health` | `DaemonHealth` |
 * | `POST /v1/sessions` | both bodies stay open, one JSON value per line: up `SessionRequest`, then `SessionCommand`s; down `SessionEvent`s |
 * | `DELETE /v1/containers/:id` | kills it, removes all of it, answers `ContainerExit`; `container_not_found` if it is not there |
 * | `GET /v1/containers`, `GET /v1/containers/:id/stats` | `ContainerSummary[]`, `ContainerStats` |
 * | `HEAD /v1/layers/:digest`, `PUT /v1/layers/:digest` | is it there; store an uncompressed tar under its sha256: `LayerStored` |
 * | `POST /v1/images` `ImageRequest` | writes config and manifest over stored layers: `ImageCreated` |
 * | `GET /v1/images`, `DELETE /v1/images/:digest` | `ImageSummary[]`; removes the manifest and what nothing else refers to |
 * | `PUT /v1/networks/:key`, `DELETE /v1/networks/:key` | has the function's network namespace made ahead; lets it go |
 */
import { z } from 'zod';
import { errorBodySchema } from './errors.ts';

export const digestSchema = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'expected sha256:<64 hex digits>');
export const containerIdSchema = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'expected 1 to 63 of a-z, 0-9 and "-"');

export const daemonHealthSchema = z.object({
  pid: z.int(),
  version: z.string(),
  cgroupVersion: z.union([z.literal(1), z.literal(2)]),
  /** Zygotes by runtime. `ready` means it answered. */
  zygotes: z.record(z.string(), z.enum(['starting', 'ready'])),
  containers: z.int(),
  /** What the start-up reconciliation found of an earlier daemon. */
  reconciled: z.object({ adopted: z.int(), removed: z.int() }),
});
export type DaemonHealth = z.infer<typeof daemonHealthSchema>;

/**
 * First line of a session. A session starts containers, and they live as long as it: when the connection ends, whatever
 * ended it, they are removed. Commands on an open connection spare a start the cost of an HTTP request (0.7 ms).
 */
export const sessionRequestSchema = z.strictObject({
  /** Who owns the containers, for example `worker-<node>`; a new session of an owner ends its older one. */
  owner: containerIdSchema,
  /** Containers the owner still has connections to; the daemon removes the owner's others. */
  holds: z.array(containerIdSchema).max(10_000),
});
export type SessionRequest = z.infer<typeof sessionRequestSchema>;

export const containerExitSchema = z.object({
  id: z.string(),
  /** Exit status, or null when a signal ended it or it is not known (adopted after a daemon restart). */
  code: z.int().nullable(),
  signal: z.string().nullable(),
  outOfMemory: z.boolean(),
  memoryPeakBytes: z.int().nullable(),
  memoryLimitBytes: z.int(),
  cpuMicroseconds: z.int().nullable(),
});
export type ContainerExit = z.infer<typeof containerExitSchema>;

export const containerRequestSchema = z.strictObject({
  id: containerIdSchema,
  owner: containerIdSchema,
  image: digestSchema,
  runtime: z.enum(['node24']),
  /** Containers with the same key share a network namespace. */
  network: containerIdSchema,
  hostname: z.string().regex(/^[a-z0-9-]{1,63}$/),
  env: z.record(z.string(), z.string()),
  limits: z.strictObject({
    memoryBytes: z.int().min(16 * 1024 * 1024),
    /** Cores. */
    cpu: z.number().min(0.01),
    pids: z.int().min(1),
    tmpBytes: z.int().min(4096),
    openFiles: z.int().min(16),
  }),
  /** The owner's listening unix socket; the container connects to it three times before it is sealed. */
  connect: z.strictObject({ socket: z.string().startsWith('/').max(100), token: z.string().min(16).max(128) }),
  /** Handed to the agent as it is. */
  agent: z.record(z.string(), z.unknown()),
});
export type ContainerRequest = z.infer<typeof containerRequestSchema>;

export const containerStartedSchema = z.object({
  id: z.string(),
  pid: z.int(),
  /** Milliseconds by step of the start. */
  phases: z.record(z.string(), z.number()),
});
export type ContainerStarted = z.infer<typeof containerStartedSchema>;

export const sessionCommandSchema = z.discriminatedUnion('type', [
  /** Answered by `started` or `refused`, in the order in which they come to be. */
  z.strictObject({ type: z.literal('start'), container: containerRequestSchema }),
]);
export type SessionCommand = z.infer<typeof sessionCommandSchema>;

export const sessionEventSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('attached'), removed: z.array(z.string()) }),
  /** It ended by itself. Its files and cgroup stay until `DELETE`. */
  z.object({ type: z.literal('exited'), exit: containerExitSchema }),
  /** A start of this session succeeded: the container is sealed. */
  z.object({ type: z.literal('started'), started: containerStartedSchema }),
  /** It failed; nothing of it is left. */
  z.object({ type: z.literal('refused'), id: z.string(), error: errorBodySchema }),
]);
export type SessionEvent = z.infer<typeof sessionEventSchema>;

export const containerSummarySchema = z.object({
  id: z.string(),
  owner: z.string(),
  image: z.string(),
  pid: z.int(),
  createdAtMs: z.number(),
  state: z.enum(['starting', 'running', 'exited']),
});
export type ContainerSummary = z.infer<typeof containerSummarySchema>;

export const containerStatsSchema = z.object({
  id: z.string(),
  memoryBytes: z.int(),
  memoryPeakBytes: z.int().nullable(),
  memoryLimitBytes: z.int(),
  cpuMicroseconds: z.int(),
  throttledMicroseconds: z.int(),
  pids: z.int(),
});
export type ContainerStats = z.infer<typeof containerStatsSchema>;

export const layerStoredSchema = z.object({ digest: digestSchema, sizeBytes: z.int(), created: z.boolean() });
export type LayerStored = z.infer<typeof layerStoredSchema>;

export const imageRequestSchema = z.strictObject({
  /** Runtime whose base image is below the layers. */
  runtime: z.enum(['node24']),
  /** Lowest first; each stored before. */
  layers: z.array(digestSchema).min(1).max(16),
  labels: z.record(z.string(), z.string()).default({}),
});
export type ImageRequest = z.infer<typeof imageRequestSchema>;

export const imageCreatedSchema = z.object({ digest: digestSchema, created: z.boolean() });
export type ImageCreated = z.infer<typeof imageCreatedSchema>;

export const imageSummarySchema = z.object({
  digest: digestSchema,
  layers: z.array(digestSchema),
  labels: z.record(z.string(), z.string()),
  createdAtMs: z.number(),
});
export type ImageSummary = z.infer<typeof imageSummarySchema>;
