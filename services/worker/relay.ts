/**
 * The frames of one invocation, between the gateway's stream and the instance's. Payloads pass as they are; what comes
 * from an instance is checked first, because an instance is not trusted. State is the invocation's own.
 */
import { decodeWindow, encodeHeadAndBody, FrameError, type FrameType, frameTypes } from '../contracts/frames.ts';
import type { InstanceRequest } from '../contracts/invocation.ts';
import { checkAnswerHead } from './answer-head.ts';
import type { Invocation } from './invocation.ts';

const noBody = Buffer.alloc(0);
/** An instance that grants more and does not read would have this process hold it. */
const maxBodyCreditBytes = 4 * 1024 * 1024;

/** Payload of the `request` frame. */
export function encodeRequest({ item }: Invocation): Buffer {
  const request: InstanceRequest = {
    id: item.id,
    method: item.method,
    path: item.path,
    headers: item.headers,
    deadlineMs: item.deadlineMs,
    streamed: item.body === null,
  };
  return encodeHeadAndBody(JSON.stringify(request), item.body ? Buffer.from(item.body, 'base64') : noBody);
}

/**
 * A `head`, `data`, `end` or `window` frame of the instance.
 * @throws FrameError when the instance may not send it now
 */
export function relayFromInstance(invocation: Invocation, type: FrameType, payload: Buffer): void {
  if (type === frameTypes.window) {
    relayGrant(invocation, payload);
    return;
  }
  if (invocation.answerReceived) throw new FrameError(`frame type ${type} after the end of the answer`);
  switch (type) {
    case frameTypes.head:
      relayHead(invocation, payload);
      return;
    case frameTypes.data:
      if (!invocation.headReceived) throw new FrameError('data before the head');
      invocation.answerCredit -= payload.byteLength;
      if (invocation.answerCredit < 0) throw new FrameError('more data than its credit');
      invocation.forward(type, payload);
      return;
    case frameTypes.end:
      if (!invocation.headReceived) throw new FrameError('end before the head');
      finish(invocation, type, payload);
      return;
    default:
      throw new FrameError(`frame type ${type} from an instance`);
  }
}

/** A `window`, `data` or `end` frame of the gateway. */
export function relayFromGateway(invocation: Invocation, type: FrameType, payload: Buffer): void {
  // While it waits nothing was granted; after the answer nobody reads.
  if (invocation.phase !== 'running') return;
  if (type === frameTypes.window) invocation.answerCredit += decodeWindow(payload);
  else if (type === frameTypes.data) invocation.bodyCredit -= payload.byteLength;
  else if (type !== frameTypes.end) throw new FrameError(`frame type ${type} from the gateway`);
  invocation.host?.send(type, invocation.hostStream, payload);
}

function relayHead(invocation: Invocation, payload: Buffer): void {
  if (invocation.headReceived) throw new FrameError('a second head');
  const head = checkAnswerHead(payload);
  invocation.headReceived = true;
  if (head.end) finish(invocation, frameTypes.head, payload);
  else invocation.forward(frameTypes.head, payload);
}

function finish(invocation: Invocation, type: FrameType, payload: Buffer): void {
  invocation.answerReceived = true;
  invocation.forward(type, payload);
  invocation.answered();
}

function relayGrant(invocation: Invocation, payload: Buffer): void {
  if (invocation.item.body !== null) throw new FrameError('window for a body that came with its request');
  invocation.bodyCredit += decodeWindow(payload);
  if (invocation.bodyCredit > maxBodyCreditBytes) throw new FrameError('window larger than 4 MiB');
  invocation.forward(frameTypes.window, payload);
}
