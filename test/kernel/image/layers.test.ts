import { execFileSync } from 'node:child_process';
import { lstatSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { expect, test } from 'vitest';
import type { ImageStore } from '../../../runtime/image/image-store.ts';
import type { TarInput } from '../../../runtime/image/tar.ts';
import { digestOf } from '../../../runtime/spec/digest.ts';
import {
  archiveOf,
  directory,
  file,
  filesOf,
  limits,
  link,
  mtimeMs,
  putEntries,
  scratchStore,
  streamOf,
} from './scratch-store.ts';
import { paxRecords, rawArchive } from './tar-bytes.ts';

async function treeOf(store: ImageStore, entries: TarInput[]): Promise<string> {
  const layer = await putEntries(store, entries);
  const { digest } = await store.createImage({ layers: [layer] });
  return (await store.resolve(digest)).layerDirectories[0] as string;
}

test('owners, modes, times and links are as the archive says', async () => {
  await using scratch = await scratchStore();
  const root = await treeOf(scratch.store, [
    directory('d', 0o1777),
    file('d/setuid', 'text', { mode: 0o4711, uid: 1234, gid: 5678 }),
    file('d/hidden', 'x', { mode: 0 }),
    link('hardlink', 'd/second', './d/setuid'),
    link('symlink', 'd/out', '/etc/passwd'),
    file('implied/parent/file', ''),
  ]);
  const stat = (path: string) => lstatSync(`${root}/${path}`);
  expect(stat('d').mode & 0o7777).toBe(0o1777);
  expect(stat('d').mtimeMs).toBe(mtimeMs);
  expect(stat('d/setuid')).toMatchObject({ uid: 1234, gid: 5678, mtimeMs, nlink: 2 });
  expect(stat('d/setuid').mode & 0o7777).toBe(0o4711);
  expect(stat('d/hidden').mode & 0o7777).toBe(0);
  expect(stat('d/second').ino).toBe(stat('d/setuid').ino);
  expect(stat('d/out').mtimeMs).toBe(mtimeMs);
  expect(readlinkSync(`${root}/d/out`)).toBe('/etc/passwd');
  expect(stat('implied/parent').mode & 0o7777).toBe(0o755);
  expect(readFileSync(`${root}/d/second`, 'utf8')).toBe('text');
});

test('a file of megabytes is extracted as it was packed', async () => {
  await using scratch = await scratchStore();
  const body = Buffer.alloc(5_000_001, 'megabytes');
  const root = await treeOf(scratch.store, [{ type: 'file', path: 'big', mode: 0o644, mtimeMs, body }]);
  expect(digestOf(readFileSync(`${root}/big`))).toBe(digestOf(body));
});

test('a later entry of one name wins, and does not write through the link that was there', async () => {
  await using scratch = await scratchStore();
  const root = await treeOf(scratch.store, [
    file('kept', 'first'),
    link('hardlink', 'name', 'kept'),
    file('name', 'second'),
    link('symlink', 'dir', '/tmp'),
    directory('dir'),
    file('dir/inside', 'x'),
  ]);
  expect(readFileSync(`${root}/kept`, 'utf8')).toBe('first');
  expect(readFileSync(`${root}/name`, 'utf8')).toBe('second');
  expect(lstatSync(`${root}/dir`).isDirectory()).toBe(true);
});

test('whiteouts and opaque directories hide what lower layers have, and nothing of their own layer', async () => {
  await using scratch = await scratchStore();
  const { store } = scratch;
  const lower = await putEntries(store, [
    ...['gone', 'stays', 'replaced'].map((name) => file(name, 'lower')),
    ...['gone-dir/x', 'opaque/old', 'swapped/old', 'swapped-late/old', 'implied/old'].map((name) =>
      file(name, 'lower'),
    ),
  ]);
  const upper = await putEntries(store, [
    file('.wh.gone', ''),
    file('.wh.gone-dir', ''),
    file('.wh.replaced', ''),
    file('replaced', 'upper'),
    file('opaque/new', 'upper'),
    file('opaque/.wh..wh..opq', ''),
    file('.wh.swapped', ''),
    directory('swapped'),
    file('swapped/new', 'upper'),
    directory('swapped-late'),
    file('swapped-late/new', 'upper'),
    file('.wh.swapped-late', ''),
    file('.wh.implied', ''),
    file('implied/new', 'upper'),
    file('.wh..wh.plnk', ''),
  ]);
  const { digest } = await store.createImage({ layers: [lower, upper] });
  const { layerDirectories } = await store.resolve(digest);
  const merged = `${scratch.directory}/merged`;
  await mkdir(merged);
  const mount = `mount -t overlay overlay -o ro,lowerdir=${layerDirectories.toReversed().join(':')} ${merged}`;
  const found = execFileSync(
    'unshare',
    ['-m', 'sh', '-ec', `${mount}; cd ${merged}; find . -mindepth 1 | sort; cat replaced`],
    {
      encoding: 'utf8',
    },
  );
  expect(found.trim().split('\n')).toEqual([
    './implied',
    './implied/new',
    './opaque',
    './opaque/new',
    './replaced',
    './stays',
    './swapped',
    './swapped-late',
    './swapped-late/new',
    './swapped/new',
    'upper',
  ]);
});

const device = (name: string, typeflag: string) => rawArchive([{ name, typeflag }]);
const packed = async (entries: TarInput[]) => (await archiveOf(entries)).bytes;

test.each<[string, () => Buffer | Promise<Buffer>, string]>([
  ['an absolute path', () => packed([file('/etc/evil', 'x')]), 'entry "/etc/evil": the path is absolute'],
  ['a path with ..', () => packed([file('a/../../evil', 'x')]), 'entry "a/../../evil": the path has a ".." in it'],
  [
    'a path through a link out of the root',
    () => packed([link('symlink', 'out', '/tmp'), file('out/evil', 'x')]),
    'entry "out/evil": its path leads through the symbolic link "out"',
  ],
  [
    'a path through a relative link',
    () => packed([directory('a'), link('symlink', 'a/up', '../..'), directory('a/up/evil')]),
    'entry "a/up/evil": its path leads through the symbolic link "a/up"',
  ],
  [
    'a whiteout through a link',
    () => packed([link('symlink', 'out', '/'), file('out/.wh.tmp', '')]),
    'entry "out/.wh.tmp": its path leads through the symbolic link "out"',
  ],
  [
    'an opaque marker through a link',
    () => packed([link('symlink', 'out', '/tmp'), file('out/.wh..wh..opq', '')]),
    'entry "out/.wh..wh..opq": its path leads through the symbolic link "out"',
  ],
  [
    'a hard link to an absolute path',
    () => packed([link('hardlink', 'l', '/etc/shadow')]),
    'entry "l": its target "/etc/shadow" is absolute',
  ],
  [
    'a hard link out of the root',
    () => packed([link('hardlink', 'l', '../../x')]),
    'entry "l": its target "../../x" has a ".."',
  ],
  [
    'a hard link through a link',
    () => packed([link('symlink', 'etc', '/etc'), link('hardlink', 'l', 'etc/shadow')]),
    'entry "l": its target "etc/shadow" leads through a link',
  ],
  [
    'a hard link to nothing',
    () => packed([link('hardlink', 'l', 'absent')]),
    'entry "l": its target "absent" is not in this layer',
  ],
  [
    'a hard link to a directory',
    () => packed([directory('d'), link('hardlink', 'l', 'd')]),
    'entry "l": its target "d" is a directory',
  ],
  [
    'a hard link to a whiteout',
    () => packed([file('.wh.w', ''), link('hardlink', 'l', 'w')]),
    'entry "l": its target "w" is not in this layer',
  ],
  [
    'a file below a file',
    () => packed([file('f', 'x'), file('f/g', 'x')]),
    'entry "f/g": "f" on its path is not a directory',
  ],
  [
    'a file for a directory',
    () => packed([file('d/x', 'x'), file('d', 'x')]),
    'entry "d": a file where this layer has a directory',
  ],
  ['a file for the root', () => packed([file('.', 'x')]), 'entry ".": a file where this layer has a directory'],
  ['the root made opaque', () => packed([file('.wh..wh..opq', '')]), 'entry ".wh..wh..opq": hides all layers below'],
  ['a character device', () => device('dev/null', '3'), 'entry "dev/null": is a character-device'],
  ['a block device', () => device('sda', '4'), 'entry "sda": is a block-device'],
  ['a fifo', () => device('pipe', '6'), 'entry "pipe": is a fifo'],
  ['a GNU sparse file', () => device('sparse', 'S'), 'entry "sparse": is a kind of file we do not know'],
  [
    'a pax sparse file',
    () => rawArchive([paxRecords({ 'GNU.sparse.major': '1' }), { name: 'sparse', typeflag: '0' }]),
    'entry "sparse": is a kind of file we do not know',
  ],
  [
    'a path in a pax record that leads out',
    () => rawArchive([paxRecords({ path: '../evil' }), { name: 'harmless', typeflag: '0' }]),
    'entry "../evil": the path has a ".." in it',
  ],
  [
    'an owner that is no number',
    () => rawArchive([paxRecords({ uid: 'root' }), { name: 'f', typeflag: '0' }]),
    'entry "f": uid "root" is not a whole number',
  ],
  [
    'an owner beyond any',
    () => rawArchive([paxRecords({ uid: '99999999999' }), { name: 'f', typeflag: '0' }]),
    'entry "f": ',
  ],
  [
    'a body shorter than it says',
    () => rawArchive([{ name: 'f', typeflag: '0', size: '77777777' }]),
    'not a tar archive, or a damaged one',
  ],
  ['bytes that are no archive', () => Buffer.alloc(4096, 'junk'), 'not a tar archive, or a damaged one'],
])('%s is refused with its name, and the store is as it was', async (_what, make, message) => {
  await using scratch = await scratchStore();
  await putEntries(scratch.store, [file('good', 'x')]);
  const before = await filesOf(scratch.directory);
  const bytes = await make();
  const digest = digestOf(bytes);
  await expect(scratch.store.putLayer(digest, streamOf(bytes), limits)).rejects.toThrow(
    expect.objectContaining({ code: 'invalid_layer', message: expect.stringContaining(message) }),
  );
  expect(scratch.store.hasLayer(digest)).toBe(false);
  expect(await filesOf(scratch.directory)).toEqual(before);
});

test('archives above the limits are refused while they come, and nothing of them is left', async () => {
  await using scratch = await scratchStore();
  const before = await filesOf(scratch.directory);
  const { bytes, digest } = await archiveOf(Array.from({ length: 30 }, (_, index) => file(`f${index}`, 'x')));
  const put = (allowed: typeof limits) => scratch.store.putLayer(digest, streamOf(bytes, 512), allowed);
  await expect(put({ bytes: 4096, entries: 100 })).rejects.toMatchObject({ code: 'layer_too_large' });
  await expect(put({ bytes: 1e6, entries: 29 })).rejects.toThrow(
    expect.objectContaining({ code: 'layer_too_large', message: 'entry "f29": more than 29 entries' }),
  );
  expect(await filesOf(scratch.directory)).toEqual(before);
  expect(await put({ bytes: 1e6, entries: 30 })).toMatchObject({ created: true });
});
