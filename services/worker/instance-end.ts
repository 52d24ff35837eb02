/** Why an instance ended, in the words of callers and of its log. Pure. */

import type { ContainerExit } from '../contracts/daemon-api.ts';
import type { ErrorBody, ErrorCode } from '../contracts/errors.ts';
import { formatBytes } from '../contracts/quantity.ts';

export type EndCause =
  /** Ended by the platform, without a fault of the function. */
  | { kind: 'idle' | 'evicted' | 'retired' | 'closing' }
  /** Ended by the platform, because it did not give a slot back. */
  | { kind: 'deadline' | 'cancelled' | 'stuck' }
  /** It went away by itself. */
  | { kind: 'lost' }
  | { kind: 'violation'; message: string }
  /** The agent said that the code cannot be loaded. */
  | { kind: 'unloadable'; body: ErrorBody }
  | { kind: 'start_timeout'; afterMs: number }
  /** The daemon could not start it. */
  | { kind: 'refused'; body: ErrorBody };

export interface EndFacts {
  readonly cause: EndCause;
  /** Undefined when the daemon has not told. */
  readonly exit: ContainerExit | undefined;
  readonly starting: boolean;
  readonly lines: readonly string[];
}

/** The error of whoever still waited for this instance. */
export function endError(facts: EndFacts): ErrorBody {
  const { cause, exit, starting } = facts;
  if (cause.kind === 'refused') return cause.body;
  if (cause.kind === 'unloadable') return withOutput(cause.body, facts);
  if (cause.kind === 'violation')
    return error('protocol_violation', `the instance broke the protocol: ${cause.message}`, facts);
  if (exit?.outOfMemory) return outOfMemory(exit, facts);
  if (cause.kind === 'closing') return { code: 'unavailable', message: 'the worker is closing' };
  if (cause.kind === 'start_timeout')
    return error('start_failed', `the function was not loaded within ${Math.round(cause.afterMs)} ms`, facts);
  if (starting) return error('start_failed', `the instance ended before it was ready (${describeExit(exit)})`, facts);
  return error('instance_exited', `the instance ended during the invocation (${describeExit(exit)})`, facts);
}

/** The `system` log line. */
export function endText(facts: EndFacts): string {
  const { cause, exit, starting } = facts;
  switch (cause.kind) {
    case 'idle':
      return 'instance ended: it was idle for long enough';
    case 'evicted':
      return 'instance ended: its place was needed';
    case 'retired':
      return 'instance ended: its version was retired';
    case 'closing':
      return 'instance ended: the worker is closing';
    case 'deadline':
      return 'instance killed: an invocation ran past its deadline';
    case 'cancelled':
      return 'instance killed: an invocation that was cut off did not stop';
    case 'stuck':
      return 'instance killed: its event loop did not answer';
    case 'violation':
      return `instance killed: it broke the protocol: ${cause.message}`;
    case 'start_timeout':
      return `instance killed: it was not ready within ${Math.round(cause.afterMs)} ms`;
    case 'unloadable':
      return `instance ended: ${cause.body.message}`;
    case 'refused':
      return `instance did not start: ${cause.body.message}`;
    case 'lost':
      if (exit?.outOfMemory) return `instance killed: ${memoryText(exit)}`;
      return `instance ended by itself${starting ? ' before it was ready' : ''}: ${describeExit(exit)}`;
    default:
      return cause satisfies never;
  }
}

/** `exit code 3`, `signal SIGKILL`, or that it is not known. */
export function describeExit(exit: ContainerExit | undefined): string {
  if (exit?.signal) return `signal ${exit.signal}`;
  if (exit && exit.code !== null) return `exit code ${exit.code}`;
  return 'how is not known';
}

function outOfMemory(exit: ContainerExit, facts: EndFacts): ErrorBody {
  const body = error('out_of_memory', memoryText(exit), facts);
  return {
    ...body,
    details: { ...body.details, memoryLimitBytes: exit.memoryLimitBytes, memoryPeakBytes: exit.memoryPeakBytes },
  };
}

function memoryText(exit: ContainerExit): string {
  const peak = exit.memoryPeakBytes === null ? '' : `, peak ${formatBytes(exit.memoryPeakBytes)}`;
  return `out of memory: limit ${formatBytes(exit.memoryLimitBytes)}${peak}`;
}

function error(code: ErrorCode, message: string, facts: EndFacts): ErrorBody {
  const { exit } = facts;
  const how = exit?.signal ? { signal: exit.signal } : exit && exit.code !== null ? { exitCode: exit.code } : {};
  return withOutput({ code, message, details: how }, facts);
}

function withOutput(body: ErrorBody, { lines }: EndFacts): ErrorBody {
  return lines.length > 0 ? { ...body, details: { ...body.details, output: [...lines] } } : body;
}
