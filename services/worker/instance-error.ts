/** What an instance says in `error` and `failed` frames, made fit to pass on. Pure: an instance is not trusted. */
import type { ErrorBody, ErrorCode } from '../contracts/errors.ts';
import { decodeJson, FrameError } from '../contracts/frames.ts';

/** The codes that an instance may speak of; any other would pass its fault off as the platform's. */
const instanceCodes: ReadonlySet<string> = new Set<ErrorCode>([
  'handler_error',
  'result_not_serializable',
  'function_unloadable',
  'invalid_request',
  'method_not_allowed',
  'body_too_large',
  'client_closed',
  'instance_exited',
]);

/** Longest message and stack that are kept. */
const maxTextLength = 16 * 1024;

export interface InstanceError {
  readonly body: ErrorBody;
  /** For the log: the name of what was thrown, its message, and the stack as far as it came. */
  readonly text: string;
}

/** @throws FrameError when the payload is not an object with a message */
export function readInstanceError(payload: Buffer, fallback: ErrorCode): InstanceError {
  const value = decodeJson(payload);
  if (typeof value !== 'object' || value === null) throw new FrameError('error is not an object');
  const { code, message, details, stack } = value as Record<string, unknown>;
  if (typeof message !== 'string') throw new FrameError('error has no message');
  const known = typeof code === 'string' && instanceCodes.has(code) ? (code as ErrorCode) : fallback;
  const plain = isRecord(details) ? details : undefined;
  const trace = stackText(stack) ?? stackText(plain?.stack);
  const short = message.slice(0, maxTextLength);
  const named = typeof plain?.name === 'string' && plain.name !== '' ? `${plain.name}: ${short}` : short;
  return {
    // The stack is for the log: a gateway that exposes messages must not come to expose paths with them.
    body: { code: known, message: short, ...(plain ? { details: withoutStack(plain) } : {}) },
    text: (trace === undefined || trace.includes(message) ? (trace ?? named) : `${named}\n${trace}`).slice(
      0,
      maxTextLength,
    ),
  };
}

/** A stack comes as text or as its lines. */
function stackText(stack: unknown): string | undefined {
  if (typeof stack === 'string') return stack;
  return Array.isArray(stack) && stack.length > 0 ? stack.map((line) => `    ${String(line)}`).join('\n') : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function withoutStack({ stack: _, ...rest }: Record<string, unknown>): Record<string, unknown> {
  return rest;
}
