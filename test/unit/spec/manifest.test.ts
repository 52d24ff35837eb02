import { expect, test } from 'vitest';
import { canonicalJson } from '../../../runtime/spec/canonical-json.ts';
import { digestOf } from '../../../runtime/spec/digest.ts';
import {
  decodeIndex,
  decodeManifest,
  encodeManifest,
  maxManifestBytes,
  mediaTypes,
} from '../../../runtime/spec/manifest.ts';

const digest = digestOf('content');
const config = { digest, sizeBytes: 7 };

test('equal values have one canonical form, whatever the order of their members', () => {
  const one = canonicalJson({ b: [{ y: 1, x: undefined, z: null }], a: 'ä' });
  const other = canonicalJson({ a: 'ä', b: [{ z: null, y: 1 }] });
  expect(one.toString()).toBe('{"a":"ä","b":[{"y":1,"z":null}]}');
  expect(other.equals(one)).toBe(true);
});

test('a member called __proto__ keeps its place in the canonical form', () => {
  expect(canonicalJson(JSON.parse('{"b":1,"__proto__":{"x":2}}')).toString()).toBe('{"__proto__":{"x":2},"b":1}');
});

test('a manifest read back has the parts that it was written from', () => {
  const bytes = encodeManifest({ config, layers: [{ digest, sizeBytes: 3 }], annotations: { b: '2', a: '1' } });
  expect(decodeManifest(bytes)).toEqual({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: { mediaType: mediaTypes.config, digest, size: 7 },
    layers: [{ mediaType: mediaTypes.layer, digest, size: 3 }],
    annotations: { a: '1', b: '2' },
  });
  expect(encodeManifest({ config, layers: [{ digest, sizeBytes: 3 }], annotations: { a: '1', b: '2' } })).toEqual(
    bytes,
  );
});

test('members that are not known are kept', () => {
  const foreign = {
    schemaVersion: 2,
    config: { mediaType: 'x', digest, size: 1, urls: ['u'] },
    layers: [],
    subject: 1,
  };
  expect(decodeManifest(canonicalJson(foreign))).toEqual(foreign);
});

test.each([
  ['nothing', '', 'manifest: not JSON'],
  ['half a document', '{"schemaVersion":2,', 'manifest: not JSON'],
  ['another version', '{"schemaVersion":1,"config":{},"layers":[]}', 'schemaVersion: '],
  ['a list', '[]', 'manifest: document: '],
  ['no layers', `{"schemaVersion":2,"config":{"mediaType":"x","digest":"${digest}","size":1}}`, 'layers: '],
  [
    'a digest that is none',
    `{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:1","size":1},"layers":[]}`,
    'config.digest: expected sha256:<64 hex digits>',
  ],
  [
    'a negative size',
    `{"schemaVersion":2,"config":{"mediaType":"x","digest":"${digest}","size":-1},"layers":[]}`,
    'config.size: ',
  ],
  ['an index', `{"schemaVersion":2,"mediaType":"${mediaTypes.index}","manifests":[]}`, 'mediaType: '],
])('%s is refused as a manifest, naming the member', (_what, text, reason) => {
  expect(() => decodeManifest(Buffer.from(text))).toThrow(
    expect.objectContaining({ code: 'invalid_manifest', message: expect.stringContaining(reason) }),
  );
});

test('bytes that are not UTF-8 are refused', () => {
  expect(() => decodeIndex(Buffer.from([0x22, 0xff, 0x22]))).toThrow('image index: not JSON');
});

test('a document above the limit is refused before it is parsed', () => {
  expect(() => decodeManifest(Buffer.alloc(maxManifestBytes + 1))).toThrow(`at most ${maxManifestBytes} are allowed`);
});
