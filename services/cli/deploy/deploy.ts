/**
 * Deploys a folder: prepared, packed to layers in a temporary folder, sent as far as the gateway does not have them,
 * and made a version. Until that last step nothing is changed.
 */
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { StokeError } from '../../contracts/errors.ts';
import { type Deployed, type DeployRequest, deployedSchema } from '../../contracts/management-api.ts';
import { cacheFolder } from '../cache-folder.ts';
import type { GatewayClient } from '../gateway-client.ts';
import { type PackedLayer, packLayer } from './layer.ts';
import { installedLayer } from './npm-install.ts';
import { type PreparedDeploy, prepareDeploy } from './prepare.ts';
import { withTemporaryFolder } from './temporary-folder.ts';
import { uploadLayer } from './upload.ts';

export type DeployProgress =
  | { readonly stage: 'packing' | 'installing' | 'verifying' }
  | { readonly stage: 'uploading'; readonly sentBytes: number; readonly totalBytes: number };

export interface DeployOptions {
  folder: string;
  gateway: GatewayClient;
  /** Start an instance before the version is taken into use; true when absent. */
  verify?: boolean;
  /** PATH, XDG_CACHE_HOME and what npm reads; the process's when absent. */
  environment?: NodeJS.ProcessEnv;
  /** Ends it and removes what was made on the way. */
  signal?: AbortSignal | undefined;
  onProgress?: (progress: DeployProgress) => void;
}

export interface DeployedLayer {
  readonly digest: string;
  readonly sizeBytes: number;
  /** False when the gateway had it. */
  readonly uploaded: boolean;
}

export interface Deployment extends Deployed {
  /** Where the function answers. */
  readonly url: string;
  readonly entry: string;
  readonly layers: readonly DeployedLayer[];
  readonly totalMs: number;
  /** What the person should know though it went well. */
  readonly notes: readonly string[];
}

/**
 * @throws CliError for a folder that cannot be deployed, or no gateway; StokeError from the gateway, for example
 * `function_unloadable`
 */
export async function deployFolder(options: DeployOptions): Promise<Deployment> {
  const startedAt = performance.now();
  const folder = resolve(options.folder);
  return withTemporaryFolder(tmpdir(), 'stoke-deploy-', async (temporary) => {
    options.onProgress?.({ stage: 'packing' });
    const prepared = await prepareDeploy(folder, { temporary, signal: options.signal });
    const packed = await packLayers(prepared, temporary, options);
    const { deployed, layers } = await publish(prepared, packed, options);
    const { dependencies } = prepared;
    return {
      ...deployed,
      url: options.gateway.url + deployed.path,
      entry: prepared.entry,
      layers,
      totalMs: performance.now() - startedAt,
      notes: dependencies.from === 'npm' && dependencies.note ? [dependencies.note] : [],
    };
  });
}

/** Lowest first: packages change seldom, so a change of code sends its own layer only. */
async function packLayers(prepared: PreparedDeploy, temporary: string, options: DeployOptions): Promise<PackedLayer[]> {
  const code = await packLayer(prepared.code.entries, join(temporary, 'code.tar'), options.signal);
  const packages = await packPackages(prepared, temporary, options);
  return packages ? [packages, code] : [code];
}

async function packPackages(
  { dependencies, packages }: PreparedDeploy,
  temporary: string,
  options: DeployOptions,
): Promise<PackedLayer | undefined> {
  switch (dependencies.from) {
    case 'nowhere':
      return undefined;
    case 'folder':
      return packLayer(packages, join(temporary, 'packages.tar'), options.signal);
    case 'npm': {
      const environment = options.environment ?? process.env;
      const onInstall = () => options.onProgress?.({ stage: 'installing' });
      return installedLayer(dependencies, {
        cache: cacheFolder(environment),
        environment,
        signal: options.signal,
        onInstall,
      });
    }
  }
}

/** Layers that are no version's are collected: one that was there may be gone when the version is made. */
const attempts = 2;

async function publish(
  prepared: PreparedDeploy,
  packed: readonly PackedLayer[],
  options: DeployOptions,
): Promise<{ deployed: Deployed; layers: DeployedLayer[] }> {
  const request: DeployRequest = {
    config: prepared.config,
    layers: packed.map((layer) => layer.digest),
    entry: prepared.entry,
    stripped: prepared.code.stripped,
    verify: options.verify ?? true,
  };
  for (let attempt = 1; ; attempt += 1) {
    const layers = await uploadLayers(packed, options);
    if (request.verify) options.onProgress?.({ stage: 'verifying' });
    try {
      return { deployed: await createVersion(request, options), layers };
    } catch (error) {
      if (!(error instanceof StokeError && error.code === 'layer_missing') || attempt === attempts) throw error;
    }
  }
}

async function uploadLayers(packed: readonly PackedLayer[], options: DeployOptions): Promise<DeployedLayer[]> {
  const layers: DeployedLayer[] = [];
  for (const layer of packed) {
    const { digest, sizeBytes } = layer;
    const onProgress = (sentBytes: number) =>
      options.onProgress?.({ stage: 'uploading', sentBytes, totalBytes: sizeBytes });
    const uploaded = await uploadLayer(options.gateway, layer, { signal: options.signal, onProgress });
    layers.push({ digest, sizeBytes, uploaded });
  }
  return layers;
}

function createVersion(request: DeployRequest, { gateway, signal }: DeployOptions): Promise<Deployed> {
  const body = JSON.stringify(request);
  return gateway.json(deployedSchema, {
    method: 'POST',
    path: '/api/v1/functions',
    headers: { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) },
    body,
    signal,
  });
}
