/** What every HTTP API of the platform shares (Hono): errors as `{"error": ErrorBody}`, JSON bodies checked at the door. */
import type { Context, ErrorHandler, MiddlewareHandler, NotFoundHandler } from 'hono';
import type { z } from 'zod';
import { type ErrorBody, type ErrorCode, errorCodes, StokeError, toErrorBody } from '../contracts/errors.ts';
import { describeIssues } from '../contracts/function.ts';
import type { Log } from './log.ts';

/** Largest JSON body of an API call, unless the route says otherwise. */
export const maxJsonBytes = 1024 * 1024;

/** Seconds after which a caller may try again, for the codes that pass by themselves. */
export function retryAfterSeconds(code: ErrorCode): number | undefined {
  const { status } = errorCodes[code];
  return status === 429 || status === 503 ? 1 : undefined;
}

/** Any thrown value as an answer. Of values that are not a `StokeError` nothing is shown. */
export function errorResponse(error: unknown): Response {
  const body = toErrorBody(error);
  return new Response(renderError(body), {
    status: errorCodes[body.code].status,
    headers: errorHeaders(body.code),
  });
}

/** The JSON text of an error answer. */
export function renderError(body: ErrorBody): string {
  return `${JSON.stringify({ error: body })}\n`;
}

function errorHeaders(code: ErrorCode): Record<string, string> {
  const seconds = retryAfterSeconds(code);
  return {
    'content-type': 'application/json; charset=utf-8',
    ...(seconds === undefined ? {} : { 'retry-after': String(seconds) }),
  };
}

/** For `app.onError`: answers, and logs what the operator has to mend. */
export function handleError(log: Log): ErrorHandler {
  return (error, context) => {
    const known = error instanceof StokeError;
    if (!known || error.code === 'internal') {
      log.error({ err: error, method: context.req.method, path: context.req.path }, 'request failed');
    }
    return errorResponse(error);
  };
}

/** For `app.notFound`. */
export const notFound: NotFoundHandler = (context) =>
  errorResponse(new StokeError('not_found', `no such path: ${context.req.method} ${context.req.path}`));

/** The last handler of a path that exists, for methods that it has no route for. */
export function methodNotAllowed(...allowed: string[]): MiddlewareHandler {
  return async (context) => {
    const allow = allowed.join(', ');
    const response = errorResponse(
      new StokeError('method_not_allowed', `${context.req.method} is not possible here; use ${allow}`),
    );
    response.headers.set('allow', allow);
    return response;
  };
}

export interface JsonBodyOptions {
  /** Default `maxJsonBytes`. */
  maxBytes?: number;
  /** Code of the error when the JSON has another shape than the schema's; default `invalid_request`. */
  code?: ErrorCode;
}

/**
 * Reads and checks a JSON body.
 * @throws StokeError `invalid_request` (or `options.code` for a wrong shape) that names each wrong field; `body_too_large`
 */
export async function readJson<T extends z.ZodType>(
  context: Context,
  schema: T,
  options: JsonBodyOptions = {},
): Promise<z.output<T>> {
  requireJson(context);
  const text = await readText(context, options.maxBytes ?? maxJsonBytes);
  const parsed = schema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw new StokeError(options.code ?? 'invalid_request', describeIssues(parsed.error));
}

/** A browser sends another content type across origins without asking first; JSON it may not. */
function requireJson(context: Context): void {
  const type = context.req.header('content-type')?.split(';', 1)[0]?.trim().toLowerCase();
  if (type === 'application/json') return;
  throw new StokeError(
    'invalid_request',
    `content-type ${type === undefined ? 'is missing' : `is "${type}"`}; send application/json`,
  );
}

async function readText(context: Context, maxBytes: number): Promise<string> {
  const declared = Number(context.req.header('content-length') ?? 0);
  const chunks: Uint8Array[] = [];
  let total = 0;
  if (declared <= maxBytes) {
    for await (const chunk of bodyOf(context)) {
      total += chunk.byteLength;
      if (total > maxBytes) break;
      chunks.push(chunk);
    }
  }
  if (Math.max(total, declared) > maxBytes) {
    throw new StokeError('body_too_large', `the body is larger than ${maxBytes} bytes`, {
      details: { limitBytes: maxBytes },
    });
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** On a real connection the body as Node has it: making a web stream of it costs more than reading it. */
function bodyOf(context: Context): AsyncIterable<Uint8Array> {
  const { incoming } = (context.env ?? {}) as { incoming?: AsyncIterable<Uint8Array> };
  return incoming ?? ((context.req.raw.body ?? []) as AsyncIterable<Uint8Array>);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new StokeError('invalid_request', `the body is not JSON: ${(cause as Error).message}`, { cause });
  }
}
