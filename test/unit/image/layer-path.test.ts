import { expect, test } from 'vitest';
import { interpretName, pathComponents } from '../../../runtime/image/layer-path.ts';

test.each([
  ['./', { kind: 'entry', components: [] }],
  ['a', { kind: 'entry', components: ['a'] }],
  ['./usr//bin/', { kind: 'entry', components: ['usr', 'bin'] }],
  ['a/./b', { kind: 'entry', components: ['a', 'b'] }],
  ['a/...', { kind: 'entry', components: ['a', '...'] }],
  ['a/.whale', { kind: 'entry', components: ['a', '.whale'] }],
  ['a/.wh.b', { kind: 'whiteout', components: ['a', 'b'] }],
  ['.wh..hidden', { kind: 'whiteout', components: ['.hidden'] }],
  ['a/.wh..wh..opq', { kind: 'opaque', components: ['a'] }],
  ['.wh..wh..opq', { kind: 'opaque', components: [] }],
  ['.wh..wh.plnk', { kind: 'ignored' }],
])('%s means what the image specification says', (name, meaning) => {
  expect(interpretName(name)).toEqual(meaning);
});

test.each([
  ['', 'the path is empty'],
  ['/etc/passwd', 'the path is absolute; expected one below the root'],
  ['../etc', 'the path has a ".." in it'],
  ['a/../../b', 'the path has a ".." in it'],
  ['a/..', 'the path has a ".." in it'],
  ['a\0b', 'the path has a NUL'],
  ['a/.wh.', 'a whiteout of no name'],
  ['a/.wh..', 'a whiteout of no name'],
  ['a/.wh...', 'a whiteout of no name'],
  ['.wh.a/b', 'below a whiteout'],
  ['x'.repeat(256), 'a component of the path is longer than 255 bytes'],
  ['ä'.repeat(128), 'a component of the path is longer than 255 bytes'],
  ['x/'.repeat(257), 'the path is deeper than 256 directories'],
  ['x/'.repeat(2000), 'the path is longer than 3800 bytes'],
])('%j is refused with its name', (name, reason) => {
  expect(() => interpretName(name)).toThrow(
    expect.objectContaining({ code: 'invalid_layer', message: `entry ${JSON.stringify(name)}: ${reason}` }),
  );
});

test('the target of a hard link is judged like a path, in the name of the link', () => {
  expect(pathComponents('./a//b', 'link')).toEqual(['a', 'b']);
  expect(() => pathComponents('/etc/shadow', 'link')).toThrow('entry "link": its target "/etc/shadow" is absolute');
  expect(() => pathComponents('../x', 'link')).toThrow('entry "link": its target "../x" has a ".." in it');
});
