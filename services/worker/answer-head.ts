/**
 * The check of a `head` frame that an instance sends. Pure. It accepts what `answerHeadSchema` accepts; written by hand
 * because it runs once per invocation.
 */
import { decodeJson, FrameError } from '../contracts/frames.ts';
import type { AnswerHead } from '../contracts/invocation.ts';

/** Largest head of an answer: status and headers as JSON. */
export const maxHeadBytes = 1024 * 1024;

/** @throws FrameError that names what is wrong */
export function checkAnswerHead(payload: Buffer): AnswerHead {
  const headBytes = payload.byteLength >= 4 ? payload.readUInt32BE(0) : Number.POSITIVE_INFINITY;
  if (headBytes > payload.byteLength - 4) throw new FrameError('head is longer than its frame');
  if (headBytes > maxHeadBytes) throw new FrameError(`head of ${headBytes} bytes, want at most ${maxHeadBytes}`);
  const head = decodeJson(payload.subarray(4, 4 + headBytes));
  const problem = findProblem(head);
  if (problem) throw new FrameError(`head: ${problem}`);
  return head as AnswerHead;
}

function findProblem(head: unknown): string | undefined {
  if (typeof head !== 'object' || head === null) return 'not an object';
  const { status, headers, end, handlerMs } = head as Record<string, unknown>;
  if (!Number.isInteger(status) || (status as number) < 200 || (status as number) > 599)
    return `status ${JSON.stringify(status)}, want 200 to 599`;
  if (!Array.isArray(headers) || headers.length % 2 !== 0) return 'headers are not a list of names and values';
  for (const text of headers) if (typeof text !== 'string') return 'headers are not a list of names and values';
  if (typeof end !== 'boolean') return 'end is not a boolean';
  if (typeof handlerMs !== 'number' || !Number.isFinite(handlerMs)) return 'handlerMs is not a number';
  return undefined;
}
