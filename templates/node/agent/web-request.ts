/** Fetch style: the web-standard `Request` of an invocation. */
import type { InstanceRequest } from '../../../services/contracts/invocation.ts';
import { findHeader } from './event.ts';
import { AnswerError } from './failures.ts';

/**
 * @param body the whole body, a stream of it, or null without one
 * @throws AnswerError `method_not_allowed` for methods that a `Request` cannot have, `invalid_request` for headers
 */
export function toWebRequest(request: InstanceRequest, body: Buffer | ReadableStream<Uint8Array> | null): Request {
  const { method, headers } = request;
  if (/^(?:connect|trace|track)$/i.test(method)) {
    throw new AnswerError('method_not_allowed', `method ${method} cannot be given to a fetch handler`);
  }
  const pairs: [string, string][] = [];
  for (let at = 0; at + 1 < headers.length; at += 2) pairs.push([headers[at] as string, headers[at + 1] as string]);
  // A Request of these methods has no body, whatever was sent.
  const bodiless = body === null || method === 'GET' || method === 'HEAD';
  const init: RequestInit = { method, headers: pairs };
  if (!bodiless) Object.assign(init, { body, duplex: 'half' });
  try {
    return new Request(url(request), init);
  } catch (error) {
    throw new AnswerError(
      'invalid_request',
      `the request cannot be given to a fetch handler: ${(error as Error).message}`,
    );
  }
}

function url(request: InstanceRequest): string {
  const host = findHeader(request.headers, 'host') ?? 'localhost';
  const wanted = `http://${host}${request.path}`;
  // A host header may hold anything; a function is not unreachable because of it.
  return /^[\w.:[\]-]+$/.test(host) && URL.canParse(wanted) ? wanted : `http://localhost${request.path}`;
}
