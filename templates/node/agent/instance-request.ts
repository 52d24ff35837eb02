/** Checks the head of a `request` frame. Pure. */
import { FrameError } from '../../../services/contracts/frames.ts';
import type { InstanceRequest } from '../../../services/contracts/invocation.ts';

/** @throws FrameError naming the field that is not what the contract says */
export function checkRequest(head: unknown): InstanceRequest {
  if (typeof head !== 'object' || head === null) throw new FrameError('request head is not an object');
  const request = head as Partial<InstanceRequest>;
  const wrong = (field: string) => new FrameError(`request head: wrong "${field}"`);
  if (typeof request.id !== 'string') throw wrong('id');
  if (typeof request.method !== 'string') throw wrong('method');
  if (typeof request.path !== 'string' || request.path[0] !== '/') throw wrong('path');
  if (!Array.isArray(request.headers) || request.headers.length % 2 !== 0) throw wrong('headers');
  if (!request.headers.every((text) => typeof text === 'string')) throw wrong('headers');
  if (typeof request.deadlineMs !== 'number') throw wrong('deadlineMs');
  if (typeof request.streamed !== 'boolean') throw wrong('streamed');
  return request as InstanceRequest;
}
