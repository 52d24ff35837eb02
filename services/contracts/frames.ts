/**
 * The framed protocol of both data-plane connections: gateway ⇄ worker (reply channel) and worker ⇄ instance.
 * Pure: bytes to values and back. No imports, because the agent inside every container loads this file.
 *
 * ```
 * frame = length u32be | type u8 | stream u32be | payload        length counts type, stream and payload
 * ```
 * A stream is one invocation. Its id is chosen by the side that asks and is never used twice on a connection.
 * Stream 0 is the connection itself.
 *
 * ```
 *  gateway                     worker                        instance
 *     │◀──────── hello ───────────│◀──────── hello ─────────────│   worker→gateway: WorkerHello; instance→worker: InstanceHello
 *     │───────── hello ──────────▶│◀──── ready | failed ────────│   gateway→worker: GatewayHello; the handler is loaded, or not
 *     │ (invocation: the queue)   │───────── request ──────────▶│   head JSON + body, whole or `streamed`
 *     │◀──────── started ─────────│                             │
 *     │◀─── window · data · end ──│── relayed both ways ───────▶│   request body: the instance grants, the gateway sends
 *     │                           │◀─────────── log ────────────│   output of one invocation
 *     │◀─── head data* end ───────│◀──── head data* end ────────│   answer; a head with `end: true` is the whole answer
 *     │──── window · cancel ─────▶│──── window · cancel ───────▶│
 *     │◀──────── error ───────────│◀──────── error ─────────────│   instead of, or in the middle of, an answer
 *     │                           │◀────────── settled ─────────│   after end or error: the slot is free (waitUntil is over)
 * ```
 * Flow control is end to end, in bytes of `data` payload: each stream and direction starts with a credit and a sender
 * never exceeds it. Answers start with `answerWindowBytes`; a streamed request body starts with 0 and waits for `window`.
 * The body bytes inside `request` and `head` count against nothing.
 */

export const frameTypes = {
  hello: 1,
  ready: 2,
  failed: 3,
  request: 4,
  started: 5,
  head: 6,
  data: 7,
  end: 8,
  error: 9,
  cancel: 10,
  window: 11,
  log: 12,
  settled: 13,
  ping: 14,
  pong: 15,
} as const;

export type FrameName = keyof typeof frameTypes;
export type FrameType = (typeof frameTypes)[FrameName];

/** A peer that announces a longer frame is cut off. Room for a 6 MiB body beside its headers, and a margin. */
export const maxFrameBytes = 8 * 1024 * 1024;
/** Largest payload of one `data` frame that a sender makes. */
export const maxDataBytes = 64 * 1024;
/** Credit that an answer stream starts with. */
export const answerWindowBytes = 256 * 1024;
/** Length, type and stream. */
export const frameHeaderBytes = 9;

export interface Frame {
  readonly type: FrameType;
  readonly stream: number;
  /** A view into the receive buffer, valid until the handler returns; copy what is kept. */
  readonly payload: Buffer;
}

/** The peer broke the protocol; the connection is of no further use. */
export class FrameError extends Error {
  override name = 'FrameError';
}

/** The 9 bytes in front of a payload of `payloadBytes`. */
export function frameHeader(type: FrameType, stream: number, payloadBytes: number): Buffer {
  const header = Buffer.allocUnsafe(frameHeaderBytes);
  header.writeUInt32BE(payloadBytes + 5, 0);
  header[4] = type;
  header.writeUInt32BE(stream, 5);
  return header;
}

/** One whole frame in one buffer: right for small payloads; write large ones after `frameHeader` to save the copy. */
export function encodeFrame(type: FrameType, stream: number, payload: Uint8Array | string = ''): Buffer {
  const payloadBytes = typeof payload === 'string' ? Buffer.byteLength(payload) : payload.byteLength;
  const frame = Buffer.allocUnsafe(frameHeaderBytes + payloadBytes);
  frame.writeUInt32BE(payloadBytes + 5, 0);
  frame[4] = type;
  frame.writeUInt32BE(stream, 5);
  if (typeof payload === 'string') frame.write(payload, frameHeaderBytes);
  else frame.set(payload, frameHeaderBytes);
  return frame;
}

/** `request` and `head` carry JSON and bytes: `headLength u32be | head JSON | body`. */
export function encodeHeadAndBody(head: string, body: Uint8Array): Buffer {
  const headBytes = Buffer.byteLength(head);
  const payload = Buffer.allocUnsafe(4 + headBytes + body.byteLength);
  payload.writeUInt32BE(headBytes, 0);
  payload.write(head, 4);
  payload.set(body, 4 + headBytes);
  return payload;
}

/** @throws FrameError when the lengths contradict each other or the head is not JSON. The head's shape is the caller's to check. */
export function decodeHeadAndBody(payload: Buffer): { head: unknown; body: Buffer } {
  const headBytes = payload.byteLength >= 4 ? payload.readUInt32BE(0) : Number.POSITIVE_INFINITY;
  if (headBytes > payload.byteLength - 4) throw new FrameError('head is longer than its frame');
  return { head: decodeJson(payload.subarray(4, 4 + headBytes)), body: payload.subarray(4 + headBytes) };
}

/** @throws FrameError when the payload is not JSON. */
export function decodeJson(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8'));
  } catch (cause) {
    throw new FrameError(`payload is not JSON: ${String(cause)}`);
  }
}

export function encodeWindow(bytes: number): Buffer {
  const payload = Buffer.allocUnsafe(4);
  payload.writeUInt32BE(bytes, 0);
  return payload;
}

/** @throws FrameError unless the payload is exactly one u32. */
export function decodeWindow(payload: Buffer): number {
  if (payload.byteLength !== 4) throw new FrameError(`window of ${payload.byteLength} bytes, want 4`);
  return payload.readUInt32BE(0);
}

const lastType = frameTypes.pong;

/** Cuts a byte stream into frames. Feed it chunks in order; it keeps the unfinished rest. */
export class FrameReader {
  #rest: Buffer | undefined;
  /** Chunks of a frame whose length is known and which is not complete yet: joined once, not on every chunk. */
  #parts: Buffer[] = [];
  #partsBytes = 0;
  #wantBytes = 0;

  /** @throws FrameError on a length or type that no frame has; nothing after it may be fed. */
  push(chunk: Buffer, onFrame: (frame: Frame) => void): void {
    if (this.#wantBytes > 0) {
      this.#parts.push(chunk);
      this.#partsBytes += chunk.byteLength;
      if (this.#partsBytes < this.#wantBytes) return;
      this.#rest = Buffer.concat(this.#parts, this.#partsBytes);
      this.#parts = [];
      this.#partsBytes = 0;
      this.#wantBytes = 0;
    } else {
      this.#rest = this.#rest ? Buffer.concat([this.#rest, chunk]) : chunk;
    }
    this.#drain(onFrame);
  }

  #drain(onFrame: (frame: Frame) => void): void {
    const buffer = this.#rest as Buffer;
    let offset = 0;
    while (buffer.byteLength - offset >= frameHeaderBytes) {
      const length = buffer.readUInt32BE(offset);
      const type = buffer[offset + 4] as number;
      if (length < 5 || length > maxFrameBytes)
        throw new FrameError(`frame of ${length} bytes, want 5 to ${maxFrameBytes}`);
      if (type < 1 || type > lastType) throw new FrameError(`unknown frame type ${type}`);
      const end = offset + 4 + length;
      if (end > buffer.byteLength) {
        this.#wantBytes = 4 + length;
        break;
      }
      onFrame({
        type: type as FrameType,
        stream: buffer.readUInt32BE(offset + 5),
        payload: buffer.subarray(offset + frameHeaderBytes, end),
      });
      offset = end;
    }
    const rest = buffer.subarray(offset);
    if (this.#wantBytes > 0) {
      this.#parts = [rest];
      this.#partsBytes = rest.byteLength;
      this.#rest = undefined;
    } else this.#rest = rest.byteLength > 0 ? rest : undefined;
  }
}
