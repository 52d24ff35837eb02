import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { packTar, readTar, type TarEntry, type TarInput } from '../../../runtime/image/tar.ts';

const mtimeMs = 1_700_000_000_000;

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.byteLength; at += size) yield bytes.subarray(at, at + size);
}

async function readAll(source: AsyncIterable<Buffer>): Promise<(TarEntry & { text: string })[]> {
  const entries: (TarEntry & { text: string })[] = [];
  await readTar(source, async (entry, body) => {
    entries.push({ ...entry, text: (await collect(body)).toString() });
  });
  return entries;
}

const tree: TarInput[] = [
  { type: 'directory', path: 'd', mode: 0o1777, mtimeMs },
  { type: 'file', path: 'd/empty', mode: 0, mtimeMs, body: Buffer.alloc(0) },
  { type: 'file', path: 'd/text', mode: 0o4755, uid: 1000, gid: 100, mtimeMs, body: Buffer.from('hello') },
  {
    type: 'file',
    path: 'd/streamed',
    mode: 0o644,
    mtimeMs,
    sizeBytes: 700,
    body: () => Readable.from([Buffer.alloc(300, 'x'), Buffer.alloc(400, 'y')]),
  },
  { type: 'symlink', path: 'd/link', mode: 0o777, mtimeMs, linkname: '/etc/passwd' },
  { type: 'hardlink', path: 'd/hard', mode: 0o644, mtimeMs, linkname: 'd/text' },
  { type: 'file', path: `${'long/'.repeat(60)}ünïcode`, mode: 0o644, mtimeMs, body: Buffer.from('u') },
];

test('what was packed is read again, whole or in pieces of any size', async () => {
  const bytes = await collect(packTar(tree));
  const whole = await readAll(inPieces(bytes, bytes.byteLength));
  expect(
    whole.map(({ path, type, mode, uid, gid, linkname, text }) => [
      path.replace(/\/$/, ''),
      type,
      mode,
      uid,
      gid,
      linkname,
      text.length,
    ]),
  ).toEqual([
    ['d', 'directory', 0o1777, 0, 0, '', 0],
    ['d/empty', 'file', 0, 0, 0, '', 0],
    ['d/text', 'file', 0o4755, 1000, 100, '', 5],
    ['d/streamed', 'file', 0o644, 0, 0, '', 700],
    ['d/link', 'symlink', 0o777, 0, 0, '/etc/passwd', 0],
    ['d/hard', 'hardlink', 0o644, 0, 0, 'd/text', 0],
    [`${'long/'.repeat(60)}ünïcode`, 'file', 0o644, 0, 0, '', 1],
  ]);
  expect(whole.every((entry) => entry.mtimeMs === mtimeMs)).toBe(true);
  for (const size of [1, 511, 513]) expect(await readAll(inPieces(bytes, size))).toEqual(whole);
});

test('the same entries give the same bytes', async () => {
  expect((await collect(packTar(tree))).equals(await collect(packTar(tree)))).toBe(true);
});

test('what is not read of a body is skipped', async () => {
  const body = Buffer.alloc(1_000_000, 'x');
  const large: TarInput[] = ['a', 'b', 'c'].map((path) => ({ type: 'file', path, mode: 0o644, mtimeMs, body }));
  for (const chunksToRead of [0, 1, 2]) {
    const names: string[] = [];
    await readTar(packTar(large), async (entry, chunks) => {
      let read = 0;
      if (chunksToRead > 0) for await (const _chunk of chunks) if (++read === chunksToRead) break;
      names.push(entry.path);
    });
    expect(names).toEqual(['a', 'b', 'c']);
  }
});

test('a body shorter or longer than announced fails the packing', async () => {
  for (const sizeBytes of [4, 6]) {
    const entry: TarInput = {
      type: 'file',
      path: 'f',
      mode: 0o644,
      mtimeMs,
      sizeBytes,
      body: () => Readable.from([Buffer.from('hello')]),
    };
    await expect(collect(packTar([entry]))).rejects.toThrow('Size mismatch');
  }
});

test('packing fails with what a body failed with', async () => {
  const body = () =>
    new Readable({
      read() {
        this.destroy(new Error('disk on fire'));
      },
    });
  await expect(
    collect(packTar([{ type: 'file', path: 'f', mode: 0o644, mtimeMs, sizeBytes: 9, body }])),
  ).rejects.toThrow('disk on fire');
});

test('a packing that nobody reads to the end is given up', async () => {
  let closed = false;
  const body = () =>
    Readable.from(
      endless(() => {
        closed = true;
      }),
    );
  for await (const _chunk of packTar([{ type: 'file', path: 'f', mode: 0o644, mtimeMs, sizeBytes: 2 ** 40, body }]))
    break;
  await expect.poll(() => closed).toBe(true);
});

async function* endless(onClose: () => void): AsyncGenerator<Buffer> {
  try {
    for (;;) yield Buffer.alloc(1024);
  } finally {
    onClose();
  }
}

test.each([
  ['text', async () => Buffer.alloc(2048, 'not a tar ')],
  ['an archive cut in a body', async () => (await collect(packTar(tree))).subarray(0, 1600)],
  ['an archive cut in a header', async () => (await collect(packTar(tree))).subarray(0, 700)],
])('%s is refused as no archive', async (_what, make) => {
  const bytes = await make();
  await expect(readAll(inPieces(bytes, 512))).rejects.toThrow(
    expect.objectContaining({
      code: 'invalid_layer',
      message: expect.stringContaining('not a tar archive, or a damaged one'),
    }),
  );
});

test("an error of the source or of the reader comes through as it is, not as the archive's", async () => {
  const broken = async function* () {
    yield (await collect(packTar(tree))).subarray(0, 1024);
    throw new Error('connection reset');
  };
  await expect(readAll(broken())).rejects.toThrow('connection reset');
  const refuse = () => Promise.reject(new Error('no such entry wanted'));
  await expect(readTar(packTar(tree), refuse)).rejects.toThrow('no such entry wanted');
});
