/** A streamed body, web stream or async iterable, as one thing to read chunks from. */

export interface ChunkSource {
  /** @returns undefined at the end @throws TypeError on a chunk that is neither text nor bytes */
  next(): Promise<Uint8Array | undefined>;
  /** Lets the producer know that nobody reads any more. Never rejects. */
  cancel(reason: Error): void;
}

export function chunkSource(body: ReadableStream<unknown> | AsyncIterable<unknown>): ChunkSource {
  if (body instanceof ReadableStream) {
    const reader = body.getReader();
    return {
      next: async () => {
        const { done, value } = await reader.read();
        return done ? undefined : toBytes(value);
      },
      cancel: (reason) => ignore(reader.cancel(reason)),
    };
  }
  const iterator = body[Symbol.asyncIterator]();
  return {
    next: async () => {
      const { done, value } = await iterator.next();
      return done ? undefined : toBytes(value);
    },
    cancel: () => ignore(iterator.return?.()),
  };
}

function toBytes(chunk: unknown): Uint8Array {
  if (chunk instanceof Uint8Array) return chunk;
  if (typeof chunk === 'string') return Buffer.from(chunk);
  if (ArrayBuffer.isView(chunk)) return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  if (chunk instanceof ArrayBuffer) return new Uint8Array(chunk);
  throw new TypeError(`the answer's stream gave a chunk of type ${typeof chunk}, expected a string or bytes`);
}

/** A producer that fails while it is being stopped has nobody left to tell. */
function ignore(stopping: Promise<unknown> | undefined): void {
  stopping?.then(undefined, () => undefined);
}
