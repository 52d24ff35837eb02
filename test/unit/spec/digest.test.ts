import { expect, test } from 'vitest';
import {
  DigestHasher,
  digestFromHex,
  digestHex,
  digestOf,
  parseDigest,
  requireDigest,
} from '../../../runtime/spec/digest.ts';

const hex = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';

test('a digest of bytes is their sha256 in hex, behind the algorithm', () => {
  expect(digestOf('abc')).toBe(`sha256:${hex}`);
  expect(digestHex(`sha256:${hex}`)).toBe(hex);
  expect(digestFromHex(hex)).toBe(`sha256:${hex}`);
});

test('a digest taken piece by piece is that of the whole, and counts the bytes', () => {
  const hasher = new DigestHasher();
  hasher.update(Buffer.from('a'));
  hasher.update(Buffer.from('bc'));
  expect(hasher.sizeBytes).toBe(3);
  expect(hasher.digest()).toBe(`sha256:${hex}`);
});

test.each([
  ['', 'expected sha256:<64 hex digits>'],
  [hex, 'expected sha256:<64 hex digits>'],
  [`sha256:${hex}:x`, 'expected sha256:<64 hex digits>'],
  [`md5:${hex}`, 'unsupported algorithm "md5"; use sha256'],
  [`sha256:${hex.toUpperCase()}`, 'upper-case hex digits; use lower case'],
  [`sha256:${hex.slice(1)}`, '63 hex digits after "sha256:", expected 64'],
  [`sha256:../../${hex.slice(6)}`, 'a character that is no hex digit after "sha256:"'],
  [`sha256:${hex}\n`, 'a character that is no hex digit after "sha256:"'],
])('%j is no digest, and the error says why', (text, reason) => {
  expect(() => parseDigest(text)).toThrow(
    expect.objectContaining({ code: 'invalid_digest', message: `digest "${text}": ${reason}` }),
  );
});

test('another digest than the one that was asked for is reported with got and want', () => {
  const [got, want] = [digestOf('a'), digestOf('b')];
  expect(() => requireDigest(got, got)).not.toThrow();
  expect(() => requireDigest(got, want)).toThrow(
    expect.objectContaining({ code: 'digest_mismatch', details: { got, want } }),
  );
});
