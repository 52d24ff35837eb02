/** Uploads of layers, passed through to the daemon as they come. */
import type { IncomingMessage } from 'node:http';
import { digestSchema } from '../contracts/daemon-api.ts';
import { StokeError } from '../contracts/errors.ts';
import { describeIssues } from '../contracts/function.ts';
import { maxDeployBytes } from '../contracts/management-api.ts';
import { errorResponse } from '../platform/http.ts';
import type { DaemonClient } from './daemon-client.ts';
import { deployTooLarge } from './deploy.ts';

export function parseDigest(text: string): string {
  const parsed = digestSchema.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new StokeError('invalid_request', `digest "${text.slice(0, 100)}": ${describeIssues(parsed.error)}`);
}

export async function headLayer(daemon: DaemonClient, digest: string): Promise<Response> {
  const found = await daemon.findLayer(parseDigest(digest));
  return found
    ? new Response(null, { status: 200 })
    : errorResponse(new StokeError('not_found', `layer ${digest} has not been uploaded`));
}

export async function putLayer(daemon: DaemonClient, digest: string, request: IncomingMessage): Promise<Response> {
  const checked = parseDigest(digest);
  const declared = request.headers['content-length'];
  if (declared === undefined) throw new StokeError('invalid_request', 'content-length is missing; a layer needs it');
  const bytes = Number(declared);
  if (bytes > maxDeployBytes) throw deployTooLarge(bytes);
  const stored = await daemon.putLayer(checked, bytes, request);
  return Response.json(stored, { status: stored.created ? 201 : 200 });
}
