/**
 * Every error that crosses a process boundary or reaches a person: a closed set of codes, each with its HTTP status and
 * the side that can mend it. Between processes travels `{ code, message, details }`, never an exception or a stack.
 */
import { z } from 'zod';

/** `user`: the caller or the function's author can mend it; `system`: the operator can. */
export type ErrorKind = 'user' | 'system';

export const errorCodes = {
  invalid_request: { status: 400, kind: 'user' },
  invalid_config: { status: 400, kind: 'user' },
  invalid_layer: { status: 400, kind: 'user' },
  digest_mismatch: { status: 400, kind: 'user' },
  forbidden: { status: 403, kind: 'user' },
  not_found: { status: 404, kind: 'user' },
  function_not_found: { status: 404, kind: 'user' },
  container_not_found: { status: 404, kind: 'user' },
  image_not_found: { status: 404, kind: 'user' },
  method_not_allowed: { status: 405, kind: 'user' },
  layer_missing: { status: 409, kind: 'user' },
  container_exists: { status: 409, kind: 'user' },
  image_in_use: { status: 409, kind: 'user' },
  body_too_large: { status: 413, kind: 'user' },
  deploy_too_large: { status: 413, kind: 'user' },
  function_unloadable: { status: 422, kind: 'user' },
  concurrency_exceeded: { status: 429, kind: 'user' },
  client_closed: { status: 499, kind: 'user' },
  handler_error: { status: 500, kind: 'user' },
  result_not_serializable: { status: 500, kind: 'user' },
  internal: { status: 500, kind: 'system' },
  instance_exited: { status: 502, kind: 'user' },
  out_of_memory: { status: 502, kind: 'user' },
  protocol_violation: { status: 502, kind: 'user' },
  start_failed: { status: 502, kind: 'user' },
  worker_lost: { status: 502, kind: 'system' },
  container_start_failed: { status: 500, kind: 'system' },
  no_capacity: { status: 503, kind: 'system' },
  unavailable: { status: 503, kind: 'system' },
  insufficient_storage: { status: 507, kind: 'system' },
  deadline_exceeded: { status: 504, kind: 'user' },
} as const satisfies Record<string, { status: number; kind: ErrorKind }>;

export type ErrorCode = keyof typeof errorCodes;

const codeSchema = z.enum(Object.keys(errorCodes) as [ErrorCode, ...ErrorCode[]]);

/** What travels: the body of `{"error": …}` over HTTP, the payload of an `error` frame. */
export const errorBodySchema = z.object({
  code: codeSchema,
  message: z.string(),
  details: z.record(z.string(), z.unknown()).optional(),
});
export type ErrorBody = z.infer<typeof errorBodySchema>;

export class StokeError extends Error {
  readonly code: ErrorCode;
  readonly details: Record<string, unknown> | undefined;

  constructor(code: ErrorCode, message: string, options: { details?: Record<string, unknown>; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'StokeError';
    this.code = code;
    this.details = options.details;
  }

  get status(): number {
    return errorCodes[this.code].status;
  }

  get kind(): ErrorKind {
    return errorCodes[this.code].kind;
  }

  toBody(): ErrorBody {
    return { code: this.code, message: this.message, ...(this.details ? { details: this.details } : {}) };
  }

  static from(body: ErrorBody): StokeError {
    return new StokeError(body.code, body.message, body.details ? { details: body.details } : {});
  }
}

/** Any thrown value as what may be shown to a caller: our own errors as they are, everything else as `internal` without its text. */
export function toErrorBody(error: unknown): ErrorBody {
  if (error instanceof StokeError) return error.toBody();
  return { code: 'internal', message: 'an internal error occurred; the service log has its cause' };
}
