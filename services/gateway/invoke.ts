/** `ANY /fn/<name>[/path]`: from the raw request to an invocation under way. The hot path; nothing here is async for a known function. */
import { randomUUIDv7 } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { StokeError, toErrorBody } from '../contracts/errors.ts';
import type { QueuedInvocation } from '../contracts/invocation.ts';
import type { Log } from '../platform/log.ts';
import { Answer } from './answer.ts';
import { epochMs } from './clock.ts';
import type { FunctionCache, KnownFunction } from './function-cache.ts';
import { requestHeaders } from './headers.ts';
import { bodyTooLarge, Invocation, type InvocationDeps } from './invocation.ts';
import { declaredLength } from './request-body.ts';
import { parseTarget, type Target } from './target.ts';

export interface InvokeDeps extends InvocationDeps {
  readonly functions: FunctionCache;
  readonly log: Log;
}

export type InvokeHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** @returns the handler of requests whose target begins with `/fn/` */
export function createInvokeHandler(deps: InvokeDeps): InvokeHandler {
  return (request, response) => {
    const acceptedAtMs = epochMs();
    const answer = new Answer(request, response, randomUUIDv7(), acceptedAtMs);
    const target = parseTarget(request.url as string);
    const known = deps.functions.peek(target.name);
    if (known) return begin(deps, known, target, request, answer);
    deps.functions.resolve(target.name).then(
      (found) => {
        if (found) begin(deps, found, target, request, answer);
        else answer.fail(functionNotFound(target.name).toBody());
      },
      (error: unknown) => {
        if (!(error instanceof StokeError)) deps.log.error({ err: error }, 'resolving a function failed');
        answer.fail(toErrorBody(error));
      },
    );
  };
}

function begin(deps: InvokeDeps, known: KnownFunction, target: Target, request: IncomingMessage, answer: Answer): void {
  if (answer.over) return;
  answer.setVersion(known.versionText);
  if (declaredLength(request) > deps.maxBodyBytes) {
    answer.fail(bodyTooLarge(deps.maxBodyBytes).toBody());
    return;
  }
  const gauge = deps.admission.enter(known.name, known.admissionLimit);
  if (!gauge) {
    answer.fail(concurrencyExceeded(known).toBody());
    return;
  }
  const item: QueuedInvocation = {
    id: answer.id,
    session: deps.session,
    stream: 0,
    function: known.name,
    version: known.version,
    acceptedAtMs: answer.acceptedAtMs,
    deadlineMs: answer.acceptedAtMs + known.timeoutMs,
    method: request.method as string,
    path: target.path,
    headers: requestHeaders(request.rawHeaders, {
      address: request.socket.remoteAddress ?? 'unknown',
      functionName: known.name,
    }),
    body: null,
  };
  new Invocation(deps, known, answer, gauge, item).begin(request);
}

export function functionNotFound(name: string): StokeError {
  return new StokeError('function_not_found', `function "${name.slice(0, 100)}" does not exist`);
}

function concurrencyExceeded(known: KnownFunction): StokeError {
  return new StokeError('concurrency_exceeded', `function "${known.name}" has too many calls under way`, {
    details: { limit: known.admissionLimit },
  });
}
