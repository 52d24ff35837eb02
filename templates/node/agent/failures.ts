/** Whatever a function threw, as what travels: message, name, and the stack's frames in the function's own files. Pure. */
import { inspect } from 'node:util';
import type { ErrorBody } from '../../../services/contracts/errors.ts';

/** Longer texts are cut: an error is read by people. */
const maxMessageLength = 8 * 1024;
const maxFrames = 30;
const maxCauses = 4;

/** A mistake in what the function returned, or in what the caller sent. */
export class AnswerError extends Error {
  readonly code: 'result_not_serializable' | 'invalid_request' | 'method_not_allowed';
  readonly details: Record<string, unknown> | undefined;

  constructor(code: AnswerError['code'], message: string, details?: Record<string, unknown>) {
    super(message);
    this.code = code;
    this.details = details;
  }
}

/** The `error` frame for something thrown while an invocation ran. `root` is the folder of the function. */
export function invocationFailure(thrown: unknown, root: string): ErrorBody {
  if (thrown instanceof AnswerError) {
    return { code: thrown.code, message: thrown.message, ...(thrown.details ? { details: thrown.details } : {}) };
  }
  const { message, name, stack } = describeThrown(thrown, root);
  return { code: 'handler_error', message, details: { name, stack } };
}

export interface Thrown {
  message: string;
  name: string;
  stack: string[];
}

/** Never throws, also for values whose properties do. */
export function describeThrown(thrown: unknown, root: string): Thrown {
  try {
    if (thrown instanceof Error) {
      const message = relative(String(thrown.message), root) || `${thrown.name} without a message`;
      return { message: cut(message), name: String(thrown.name), stack: stackLines(thrown, root) };
    }
    return { message: cut(`threw ${inspect(thrown, { depth: 2 })}`), name: typeof thrown, stack: [] };
  } catch {
    // A getter or a custom inspect function of the thrown value threw in turn; there is nothing to learn from that.
    return { message: 'threw a value that cannot be shown', name: typeof thrown, stack: [] };
  }
}

/** The frames of an error in the function's own files, then those of its causes. */
function stackLines(thrown: Error, root: string, depth = 0): string[] {
  const frames = userFrames(String(thrown.stack), root);
  const { cause } = thrown;
  if (cause === undefined || depth >= maxCauses) return frames;
  if (!(cause instanceof Error)) return [...frames, `caused by ${relative(inspect(cause, { depth: 1 }), root)}`];
  const said = relative(`${cause.name}: ${cause.message}`, root);
  return [...frames, `caused by ${cut(said)}`, ...stackLines(cause, root, depth + 1)];
}

/** Stack frames in files below `root`, with paths relative to it: `at load (lib/data.ts:3:9)`. */
export function userFrames(stack: string, root: string): string[] {
  return stack
    .split('\n')
    .filter((line) => /^\s+at /.test(line) && line.includes(`${root}/`))
    .slice(0, maxFrames)
    .map((line) => relative(line.trim(), root));
}

/** Text with absolute paths and URLs of files below `root` made relative to it. */
export function relative(text: string, root: string): string {
  return text.replaceAll(`file://${root}/`, '').replaceAll(`${root}/`, '');
}

function cut(text: string): string {
  return text.length <= maxMessageLength ? text : `${text.slice(0, maxMessageLength)}… (${text.length} characters)`;
}
