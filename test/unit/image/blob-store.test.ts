import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BlobStore } from '../../../runtime/image/blob-store.ts';
import { digestOf } from '../../../runtime/spec/digest.ts';

let directory: string;
let store: BlobStore;

beforeEach(async () => {
  directory = await mkdtemp(`${tmpdir()}/stoke-blobs-`);
  store = await BlobStore.open(directory);
});
afterEach(() => rm(directory, { recursive: true }));

const content = Buffer.alloc(300_000, 'content');
const digest = digestOf(content);
const pieces = () => Readable.from([content.subarray(0, 100_000), content.subarray(100_000)]);
const partial = () => readdir(`${directory}/partial/blobs`);

test('a blob that was put is there, whole, under its digest', async () => {
  expect(await store.put(pieces(), digest)).toEqual({ digest, sizeBytes: content.byteLength });
  expect(await store.has(digest)).toBe(true);
  expect((await store.read(digest)).equals(content)).toBe(true);
  expect(Buffer.concat(await (await store.get(digest, { start: 5, end: 9 })).toArray()).toString()).toBe(
    content.subarray(5, 10).toString(),
  );
  expect(await store.list()).toEqual([digest]);
  expect(await partial()).toEqual([]);
});

test('many puts of one blob at a time leave one blob', async () => {
  await Promise.all(Array.from({ length: 8 }, () => store.put(pieces(), digest)));
  expect(await store.list()).toEqual([digest]);
  expect((await store.read(digest)).equals(content)).toBe(true);
});

test('content of another digest is refused, and nothing of it is left', async () => {
  await expect(store.put(pieces(), digestOf('other'))).rejects.toMatchObject({ code: 'digest_mismatch' });
  expect(await store.list()).toEqual([]);
  expect(await partial()).toEqual([]);
});

test('content above the limit is refused while it comes, and its stream is left to its owner', async () => {
  const stream = Readable.from(Array.from({ length: 100 }, () => Buffer.alloc(3000)));
  await expect(store.put(stream, digest, { bytes: 150_000 })).rejects.toMatchObject({ code: 'layer_too_large' });
  expect(stream.destroyed).toBe(false);
  expect(await partial()).toEqual([]);
});

test('a stream that fails half-way leaves nothing', async () => {
  const failing = Readable.from(
    (async function* () {
      yield content.subarray(0, 1000);
      throw new Error('client gone');
    })(),
  );
  await expect(store.put(failing, digest)).rejects.toThrow('client gone');
  expect(await store.list()).toEqual([]);
  expect(await partial()).toEqual([]);
});

test('opening removes what a killed process left unfinished, and keeps the blobs', async () => {
  await store.putBytes(content);
  await writeFile(`${directory}/partial/blobs/left-over`, 'half');
  const again = await BlobStore.open(directory);
  expect(await partial()).toEqual([]);
  expect(await again.list()).toEqual([digest]);
});

test('a blob whose bytes changed on the disk is not handed out as what it was', async () => {
  await store.putBytes(content);
  await writeFile(store.path(digest), 'rotten');
  await expect(store.read(digest)).rejects.toMatchObject({ code: 'digest_mismatch' });
});

test('a blob that is not there is named, and removing it says that it was not', async () => {
  await expect(store.read(digest)).rejects.toMatchObject({ code: 'blob_missing', details: { digest } });
  await expect(store.get(digest)).rejects.toMatchObject({ code: 'blob_missing' });
  expect(await store.size(digest)).toBeUndefined();
  expect(await store.remove(digest)).toBe(false);
  await store.putBytes(content);
  expect(await store.remove(digest)).toBe(true);
  expect(await store.has(digest)).toBe(false);
});

test('a digest cannot lead out of the store', async () => {
  await expect(store.put(pieces(), 'sha256:../../x')).rejects.toMatchObject({ code: 'invalid_digest' });
  await expect(store.has('../x')).rejects.toMatchObject({ code: 'invalid_digest' });
});
