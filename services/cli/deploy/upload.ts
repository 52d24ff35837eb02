/** Brings layers to the gateway that it does not have yet. */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { layerStoredSchema } from '../../contracts/daemon-api.ts';
import type { GatewayClient } from '../gateway-client.ts';
import type { PackedLayer } from './layer.ts';

export interface UploadOptions {
  signal?: AbortSignal | undefined;
  /** Bytes handed to the connection so far. */
  onProgress?: (sentBytes: number) => void;
}

/** @returns whether it had to be sent */
export async function uploadLayer(
  gateway: GatewayClient,
  layer: PackedLayer,
  options: UploadOptions = {},
): Promise<boolean> {
  const { signal } = options;
  if (await isThere(gateway, layer.digest, signal)) return false;
  options.onProgress?.(0);
  await gateway.json(layerStoredSchema, {
    method: 'PUT',
    path: layerPath(layer.digest),
    headers: { 'content-type': 'application/x-tar', 'content-length': String(layer.sizeBytes) },
    body: Readable.from(metered(layer.file, options.onProgress), { objectMode: false }),
    signal,
  });
  return true;
}

async function* metered(file: string, onProgress: UploadOptions['onProgress']): AsyncGenerator<Buffer> {
  let sentBytes = 0;
  for await (const chunk of createReadStream(file)) {
    yield chunk as Buffer;
    sentBytes += (chunk as Buffer).byteLength;
    onProgress?.(sentBytes);
  }
}

async function isThere(gateway: GatewayClient, digest: string, signal: AbortSignal | undefined): Promise<boolean> {
  const answer = await gateway.send({ method: 'HEAD', path: layerPath(digest), signal });
  answer.resume();
  // Anything else than "here" or "not here" has its reason in the body that a HEAD does not have: the PUT will tell.
  return (answer.statusCode ?? 500) < 300;
}

function layerPath(digest: string): string {
  return `/api/v1/layers/${digest}`;
}
