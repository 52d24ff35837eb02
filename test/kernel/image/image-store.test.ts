import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { canonicalJson } from '../../../runtime/spec/canonical-json.ts';
import { digestHex, digestOf } from '../../../runtime/spec/digest.ts';
import { decodeIndex } from '../../../runtime/spec/manifest.ts';
import { archiveOf, file, filesOf, limits, putEntries, scratchStore, streamOf } from './scratch-store.ts';

const absent = digestOf('absent');

test('an image over a base has the layers of both and is there for the next process', async () => {
  await using scratch = await scratchStore();
  const { store } = scratch;
  const lower = await putEntries(store, [file('a', '1')]);
  const upper = await putEntries(store, [file('b', '2')]);
  const base = await store.createImage({ layers: [lower], config: { Env: ['A=1'] }, labels: { kind: 'base' } });
  const image = await store.createImage({ base: base.digest, layers: [upper], labels: { function: 'hello' } });
  await store.tag('team/hello', image.digest);

  const again = await scratch.reopen();
  const resolved = await again.resolve(image.digest);
  expect(again.lookup('team/hello:latest')).toBe(image.digest);
  expect(again.lookup(`team/hello@${image.digest}`)).toBe(image.digest);
  expect(resolved).toMatchObject({
    layers: [lower, upper],
    base: base.digest,
    labels: { kind: 'base', function: 'hello' },
  });
  expect(resolved.config.config?.Env).toEqual(['A=1']);
  expect(resolved.layerDirectories.map((path, index) => readFileSync(`${path}/${'ab'[index]}`, 'utf8'))).toEqual([
    '1',
    '2',
  ]);
  expect((await again.list()).map(({ digest, tags }) => [digest, tags])).toEqual([
    [base.digest, []],
    [image.digest, ['team/hello:latest']],
  ]);
});

test('the same request gives the same digest, once created and then found', async () => {
  await using scratch = await scratchStore();
  const layer = await putEntries(scratch.store, [file('a', '1')]);
  const first = await scratch.store.createImage({ layers: [layer], labels: { a: '1', b: '2' } });
  const second = await scratch.store.createImage({ layers: [layer], labels: { b: '2', a: '1' } });
  const other = await scratch.store.createImage({ layers: [layer], labels: { a: '1' } });
  expect(first.created).toBe(true);
  expect(second).toEqual({ digest: first.digest, created: false });
  expect(other.digest).not.toBe(first.digest);
});

test('a resolved image is answered from memory, without the disk', async () => {
  await using scratch = await scratchStore();
  const layer = await putEntries(scratch.store, [file('a', '1')]);
  const { digest } = await scratch.store.createImage({ layers: [layer] });
  expect(scratch.store.resolved(digest)).toBeUndefined();
  const resolved = await scratch.store.resolve(digest);
  await rm(`${scratch.directory}/blobs`, { recursive: true });
  expect(await scratch.store.resolve(digest)).toBe(resolved);
  expect(scratch.store.resolved(digest)).toBe(resolved);
});

test('what is not in the store is named', async () => {
  await using scratch = await scratchStore();
  const { store } = scratch;
  await expect(store.resolve(absent)).rejects.toMatchObject({ code: 'image_not_found', details: { digest: absent } });
  await expect(store.createImage({ layers: [absent] })).rejects.toMatchObject({ code: 'layer_missing' });
  await expect(store.createImage({ base: absent, layers: [] })).rejects.toMatchObject({ code: 'image_not_found' });
  await expect(store.removeImage(absent)).rejects.toMatchObject({ code: 'image_not_found' });
  await expect(store.tag('name', absent)).rejects.toMatchObject({ code: 'image_not_found' });
  await expect(store.tag('Name', absent)).rejects.toMatchObject({ code: 'invalid_reference' });
  expect(store.lookup('name')).toBeUndefined();
  expect(await filesOf(scratch.directory)).toEqual([]);
});

test('a layer whose content has another digest is refused, and nothing of it is left', async () => {
  await using scratch = await scratchStore();
  const { bytes } = await archiveOf([file('a', '1')]);
  await expect(scratch.store.putLayer(absent, streamOf(bytes), limits)).rejects.toMatchObject({
    code: 'digest_mismatch',
  });
  expect(scratch.store.hasLayer(absent)).toBe(false);
  expect(await filesOf(scratch.directory)).toEqual([]);
});

test('of many puts of one layer at a time one does the work, and all answer', async () => {
  await using scratch = await scratchStore();
  const { bytes, digest } = await archiveOf([file('a', 'x'.repeat(200_000))]);
  const puts = await Promise.all(
    Array.from({ length: 8 }, () => scratch.store.putLayer(digest, streamOf(bytes, 1000), limits)),
  );
  expect(puts.filter(({ created }) => created)).toHaveLength(1);
  expect(puts.every((put) => put.digest === digest && put.sizeBytes === bytes.byteLength)).toBe(true);
});

test('a put whose sender goes away does not fail the others that wait for it', async () => {
  await using scratch = await scratchStore();
  const { bytes, digest } = await archiveOf([file('a', 'x'.repeat(200_000))]);
  const failing = async function* () {
    yield bytes.subarray(0, 4096);
    throw new Error('client gone');
  };
  const first = scratch.store.putLayer(digest, failing(), limits);
  const second = scratch.store.putLayer(digest, streamOf(bytes), limits);
  await expect(first).rejects.toThrow('client gone');
  expect(await second).toMatchObject({ created: true });
});

test('a stream that is refused is left open, so that its server can still answer', async () => {
  await using scratch = await scratchStore();
  const { bytes, digest } = await archiveOf([file('../evil', 'x'), file('b', 'y'.repeat(500_000))]);
  const stream = Readable.from(streamOf(bytes, 1024));
  await expect(scratch.store.putLayer(digest, stream, limits)).rejects.toMatchObject({ code: 'invalid_layer' });
  expect(stream.destroyed).toBe(false);
  stream.destroy();
});

test('removing an image takes the layers and blobs that no other has, and no more', async () => {
  await using scratch = await scratchStore();
  const { store } = scratch;
  const [shared, own, other] = (await Promise.all(
    ['shared', 'own', 'other'].map((name) => putEntries(store, [file(name, name)])),
  )) as [string, string, string];
  const base = await store.createImage({ layers: [shared] });
  const first = await store.createImage({ base: base.digest, layers: [own] });
  const second = await store.createImage({ base: base.digest, layers: [other] });
  await store.tag('first', first.digest);

  await expect(store.removeImage(base.digest)).rejects.toThrow(
    expect.objectContaining({
      code: 'image_in_use',
      message: expect.stringMatching(/and 1 more builds on it; remove that first$/),
    }),
  );
  await store.removeImage(first.digest);
  expect(store.lookup('first')).toBeUndefined();
  expect([shared, own, other].map((layer) => store.hasLayer(layer))).toEqual([true, false, true]);
  await expect(store.resolve(first.digest)).rejects.toMatchObject({ code: 'image_not_found' });
  expect((await store.resolve(second.digest)).layers).toEqual([shared, other]);

  await store.removeImage(second.digest);
  await store.removeImage(base.digest);
  expect(await filesOf(scratch.directory)).toEqual(['index.json']);
  expect(await putEntries(store, [file('own', 'own')])).toBe(own);
});

test('what no image refers to is removed once it is old enough, and what was asked for lately is kept', async () => {
  await using scratch = await scratchStore();
  const { store } = scratch;
  const used = await putEntries(store, [file('used', '')]);
  await store.createImage({ layers: [used] });
  const unused = await putEntries(store, [file('unused', '')]);
  const orphan = digestOf('orphan');
  await writeFile(`${scratch.directory}/blobs/sha256/${digestHex(orphan)}`, 'orphan');

  expect(store.unreferencedLayers()).toEqual([unused]);
  expect(await store.removeUnreferenced(60_000)).toEqual({ layers: [], blobs: [] });
  expect(await store.removeUnreferenced(0)).toEqual({ layers: [unused], blobs: [orphan] });
  expect([store.hasLayer(used), store.hasLayer(unused)]).toEqual([true, false]);
});

test('after a reboot a tree that was not synchronised is made again from its archive, a synchronised one is kept', async () => {
  await using scratch = await scratchStore();
  const layer = await putEntries(scratch.store, [file('a', 'whole')]);
  const { digest } = await scratch.store.createImage({ layers: [layer] });
  const tree = (await scratch.store.resolve(digest)).layerDirectories[0] as string;
  const record = tree.replace(/root$/, 'layer.json');
  // What a power cut does to files that were not synchronised.
  await writeFile(`${tree}/a`, '');

  await scratch.reopen();
  expect(readFileSync(`${tree}/a`, 'utf8')).toBe('');
  await scratch.reopen('another-boot');
  expect(readFileSync(`${tree}/a`, 'utf8')).toBe('whole');

  await writeFile(`${tree}/a`, 'as it was left');
  await writeFile(record, JSON.stringify({ ...JSON.parse(readFileSync(record, 'utf8')), durable: true }));
  await scratch.reopen('a-third-boot');
  expect(readFileSync(`${tree}/a`, 'utf8')).toBe('as it was left');

  // A record that was cut itself vouches for nothing.
  await writeFile(record, '');
  await scratch.reopen('a-third-boot');
  expect(readFileSync(`${tree}/a`, 'utf8')).toBe('whole');
});

test('an image of which the disk has lost a part does not keep the store from opening, and says what is lost', async () => {
  await using scratch = await scratchStore();
  const layer = await putEntries(scratch.store, [file('a', '')]);
  const lost = await scratch.store.createImage({ layers: [layer], labels: { a: '1' } });
  const whole = await scratch.store.createImage({ layers: [layer], labels: { a: '2' } });
  await writeFile(`${scratch.directory}/blobs/sha256/${digestHex(lost.digest)}`, 'rotten');
  const store = await scratch.reopen();
  await expect(store.resolve(lost.digest)).rejects.toMatchObject({ code: 'digest_mismatch' });
  expect((await store.list()).map(({ layers }) => layers)).toEqual([[], [layer]]);
  await store.removeImage(lost.digest);
  expect((await store.resolve(whole.digest)).layers).toEqual([layer]);
});

test('the directory is an OCI image layout', async () => {
  await using scratch = await scratchStore();
  const layer = await putEntries(scratch.store, [file('a', '')]);
  const { digest } = await scratch.store.createImage({ layers: [layer] });
  const untagged = await scratch.store.createImage({ layers: [layer], labels: { a: '1' } });
  await scratch.store.tag('team/app:v1', digest);
  const index = decodeIndex(readFileSync(`${scratch.directory}/index.json`));
  expect(JSON.parse(readFileSync(`${scratch.directory}/oci-layout`, 'utf8'))).toEqual({ imageLayoutVersion: '1.0.0' });
  expect(index.manifests.map((each) => [each.digest, each.annotations?.['org.opencontainers.image.ref.name']])).toEqual(
    [
      [untagged.digest, undefined],
      [digest, 'team/app:v1'],
    ],
  );
  expect(canonicalJson(index).equals(readFileSync(`${scratch.directory}/index.json`))).toBe(true);
});
