/**
 * A deploy, from uploaded layers to the version that calls go to. Each step leaves nothing visible when the next one fails:
 * image and version record → network → verified by a worker → published → older instances retired.
 */
import { createHash } from 'node:crypto';
import { totalmem } from 'node:os';
import type { z } from 'zod';
import { StokeError } from '../contracts/errors.ts';
import type { FunctionConfig, VersionRecord } from '../contracts/function.ts';
import type { WorkerQuery } from '../contracts/invocation.ts';
import { type Deployed, type deployRequestSchema, maxDeployBytes } from '../contracts/management-api.ts';
import { formatBytes, parseBytes } from '../contracts/quantity.ts';
import type { Log } from '../platform/log.ts';
import type { DaemonClient } from './daemon-client.ts';
import type { FunctionStore } from './function-store.ts';
import type { ImageKeeper } from './image-keeper.ts';
import type { WorkerQueries } from './worker-queries.ts';

export interface DeployDeps {
  readonly store: FunctionStore;
  readonly daemon: DaemonClient;
  readonly images: ImageKeeper;
  readonly workers: WorkerQueries;
  /** Makes the next call read the function's record; other gateways hear of it from Redis. */
  invalidate(name: string): void;
  readonly log: Log;
  /** Of the machine; default `os.totalmem()`. */
  readonly totalMemoryBytes?: number;
}

const verifyWithinMs = 60_000;
const retireWithinMs = 10_000;

type CheckedRequest = z.output<typeof deployRequestSchema>;

/**
 * @throws StokeError `invalid_config`, `layer_missing`, `deploy_too_large`; `function_unloadable` with what the agent said;
 *   `no_capacity` without a worker to verify with; `unavailable`
 */
export async function deploy(deps: DeployDeps, request: CheckedRequest): Promise<Deployed> {
  const { config } = request;
  checkAgainstMachine(config, deps.totalMemoryBytes ?? totalmem());
  await checkLayers(deps.daemon, request.layers);
  const made = await deps.images.create(config.name, { runtime: config.runtime, layers: request.layers }, (image) =>
    createVersion(deps, request, image),
  );
  return made.created ? release(deps, request, made.version) : deployed(made.version, false, null);
}

/** @returns the new version, or the newest when it has the same content */
async function createVersion(
  deps: DeployDeps,
  request: CheckedRequest,
  image: string,
): Promise<
  | { created: true; version: VersionRecord }
  | { created: false; version: Pick<VersionRecord, 'function' | 'version' | 'digest'> }
> {
  const { config, entry, stripped } = request;
  const digest = contentDigest(image, request);
  const newest = (await deps.store.get(config.name))?.record.versions.at(-1);
  if (newest?.digest === digest) return { created: false, version: { ...newest, function: config.name } };
  const createdAtMs = Date.now();
  const version = { function: config.name, image, digest, entry, stripped, config, createdAtMs };
  return { created: true, version: await deps.store.createVersion(version) };
}

/** Takes a function away: calls first, then what served them. @returns whether it was there */
export async function remove(deps: DeployDeps, name: string): Promise<boolean> {
  const record = await deps.store.remove(name);
  if (!record) return false;
  deps.invalidate(name);
  await deps.workers.askAll({ op: 'retire', function: name, removed: true }, retireWithinMs);
  try {
    await deps.daemon.removeNetwork(name);
  } catch (error) {
    deps.log.warn({ err: error, function: name }, "letting go of the function's network failed");
  }
  await deps.images.removeUnused(record.versions.map((version) => version.image));
  return true;
}

const abandonedAfterMs = 60 * 60 * 1000;

/** Removes what deploys left that were cut off by the end of a gateway; those begun after `startedAtMs` are left alone. */
export async function sweepDeploys(deps: DeployDeps, startedAtMs: number): Promise<void> {
  const versions = await deps.store.sweep(startedAtMs);
  const images = await deps.images.sweep(startedAtMs - abandonedAfterMs);
  if (versions + images > 0) deps.log.info({ versions, images }, 'removed what unfinished deploys left');
}

/** Identifies code and settings together. Pure: the same content has the same digest whatever the order of its keys. */
export function contentDigest(image: string, request: Pick<CheckedRequest, 'entry' | 'stripped' | 'config'>): string {
  const { $schema: _, ...config } = request.config;
  const content = canonicalJson({ image, entry: request.entry, stripped: request.stripped, config });
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

function checkAgainstMachine(config: FunctionConfig, totalBytes: number): void {
  for (const field of ['memory', 'tmp'] as const) {
    const parsed = parseBytes(config[field]);
    if ('bytes' in parsed && parsed.bytes <= totalBytes) continue;
    throw new StokeError(
      'invalid_config',
      `${field}: "${config[field]}" is more than the machine has; use at most ${formatBytes(totalBytes).replace(' ', '')}`,
    );
  }
}

async function checkLayers(daemon: DaemonClient, layers: readonly string[]): Promise<void> {
  let totalBytes = 0;
  for (const digest of layers) {
    const found = await daemon.findLayer(digest);
    if (!found) throw new StokeError('layer_missing', `layer ${digest} has not been uploaded`, { details: { digest } });
    totalBytes += found.sizeBytes ?? 0;
  }
  if (totalBytes > maxDeployBytes) throw deployTooLarge(totalBytes);
}

export function deployTooLarge(bytes: number): StokeError {
  return new StokeError(
    'deploy_too_large',
    `the deploy has ${formatBytes(bytes)}, want at most ${formatBytes(maxDeployBytes)}`,
    { details: { bytes, limitBytes: maxDeployBytes } },
  );
}

/** Takes a written version into use. */
async function release(deps: DeployDeps, request: CheckedRequest, version: VersionRecord): Promise<Deployed> {
  const name = version.function;
  let verifyMs: number | null;
  let dropped: { image: string }[];
  try {
    await deps.daemon.prepareNetwork(name);
    verifyMs = request.verify ? await verify(deps, version) : null;
    dropped = await deps.store.publish(version);
  } catch (error) {
    await takeBack(deps, version);
    throw error;
  }
  deps.invalidate(name);
  // Calls go to the new version from here on; nobody has to wait for the old ones to end.
  void retireBelow(deps, version, dropped);
  return deployed(version, true, verifyMs);
}

/** Failures are logged by those asked, and mended by the workers' keep-alive and the sweep of the next start. */
async function retireBelow(deps: DeployDeps, version: VersionRecord, dropped: { image: string }[]): Promise<void> {
  const { function: name, version: below } = version;
  await deps.workers.askAll({ op: 'retire', function: name, below, removed: false }, retireWithinMs);
  await deps.images.removeUnused(dropped.map((old) => old.image));
}

/** Has a worker start an instance, which then serves the first calls. */
async function verify(deps: DeployDeps, version: VersionRecord): Promise<number> {
  const query: WorkerQuery = { op: 'verify', function: version.function, version: version.version, keep: true };
  try {
    const answer = (await deps.workers.askOne(query, verifyWithinMs)) as { startMs?: unknown } | undefined;
    return typeof answer?.startMs === 'number' ? answer.startMs : 0;
  } catch (error) {
    if (!(error instanceof StokeError) || error.code !== 'container_start_failed') throw asUnloadable(error);
    // Its message names places of the machine.
    deps.log.error({ err: error, function: version.function, version: version.version }, 'the verifying start failed');
    throw new StokeError(error.code, 'an instance could not be started; the log of the gateway has the reason');
  }
}

/** A start that failed by the function's own doing is the deploy's fault; the rest is the platform's. */
function asUnloadable(error: unknown): unknown {
  if (!(error instanceof StokeError) || error.kind === 'system' || error.code === 'function_unloadable') return error;
  const { stack: _, ...details } = error.details ?? {};
  return new StokeError('function_unloadable', error.message, {
    details: { ...details, code: error.code },
    cause: error,
  });
}

async function takeBack(deps: DeployDeps, version: VersionRecord): Promise<void> {
  try {
    await deps.store.discardVersion(version);
  } catch (error) {
    // Nothing refers to it, and the next start sweeps it.
    deps.log.warn({ err: error, function: version.function, version: version.version }, 'taking a version back failed');
  }
  await deps.images.removeUnused([version.image]);
}

function deployed(
  version: Pick<VersionRecord, 'function' | 'version' | 'digest'>,
  created: boolean,
  verifyMs: number | null,
): Deployed {
  const { function: name, version: number, digest } = version;
  return { function: name, version: number, digest, created, path: `/fn/${name}`, verifyMs };
}
