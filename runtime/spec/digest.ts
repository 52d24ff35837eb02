/** Content digests, `sha256:<64 hex digits>`: how blobs, layers and images are named. Pure. */
import { createHash, type Hash } from 'node:crypto';
import { RuntimeError } from '../errors.ts';

/** The form of a digest, for schemas. */
export const digestPattern = /^sha256:[0-9a-f]{64}$/;

/**
 * Checks a digest and returns it.
 * @throws RuntimeError `invalid_digest`, saying what is wrong with it
 */
export function parseDigest(text: string): string {
  if (digestPattern.test(text)) return text;
  throw new RuntimeError('invalid_digest', `digest "${text}": ${whatIsWrong(text)}`);
}

function whatIsWrong(text: string): string {
  const [algorithm, hex, ...rest] = text.split(':');
  if (hex === undefined || rest.length > 0) return 'expected sha256:<64 hex digits>';
  if (algorithm !== 'sha256') return `unsupported algorithm "${algorithm}"; use sha256`;
  if (/[A-F]/.test(hex)) return 'upper-case hex digits; use lower case';
  if (/[^0-9a-f]/.test(hex)) return 'a character that is no hex digit after "sha256:"';
  return `${hex.length} hex digits after "sha256:", expected 64`;
}

/** The hex digits of a digest: its file name in a store. @throws RuntimeError `invalid_digest` */
export function digestHex(digest: string): string {
  return parseDigest(digest).slice('sha256:'.length);
}

export function digestFromHex(hex: string): string {
  return parseDigest(`sha256:${hex}`);
}

/** The digest of bytes that are there already. */
export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** @throws RuntimeError `digest_mismatch` with got and want */
export function requireDigest(got: string, want: string): void {
  if (got === want) return;
  throw new RuntimeError('digest_mismatch', `content has digest ${got}, expected ${want}`, { details: { got, want } });
}

/** The digest and length of bytes that come piece by piece. */
export class DigestHasher {
  readonly #hash: Hash = createHash('sha256');
  #sizeBytes = 0;

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  update(chunk: Uint8Array): void {
    this.#hash.update(chunk);
    this.#sizeBytes += chunk.byteLength;
  }

  /** Ends it; may be called once. */
  digest(): string {
    return `sha256:${this.#hash.digest('hex')}`;
  }
}
