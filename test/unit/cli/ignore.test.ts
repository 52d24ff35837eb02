import { describe, expect, test } from 'vitest';
import { parseIgnore } from '../../../services/cli/deploy/ignore.ts';

const cases: [pattern: string, ignored: string[], kept: string[]][] = [
  ['*.log', ['a.log', 'x/y/b.log'], ['a.log.txt', 'log']],
  ['/top.js', ['top.js'], ['x/top.js']],
  ['docs/*.md', ['docs/a.md'], ['docs/x/a.md', 'x/docs/a.md']],
  ['docs/**/*.md', ['docs/a.md', 'docs/x/y/a.md'], ['a.md']],
  ['**/fixtures', ['fixtures', 'a/b/fixtures'], ['fixtures2']],
  ['out/**', ['out/a', 'out/a/b'], ['out']],
  ['a?c', ['abc'], ['ac', 'a/c']],
  ['[ab].js', ['a.js', 'x/b.js'], ['c.js']],
  ['[!ab].js', ['c.js'], ['a.js']],
  ['[a-c]-[0-9].js', ['b-7.js'], ['d-7.js', 'b-x.js']],
  ['\\#x', ['#x'], ['x']],
  ['a+(b).{js}', ['a+(b).{js}'], ['aab.js']],
  ['# comment\n\n*.a\n!keep.a', ['x.a'], ['keep.a', '# comment']],
];

describe('a pattern of .fnignore', () => {
  test.each(cases)('%j leaves out %j and keeps %j', (pattern, ignored, kept) => {
    const ignore = parseIgnore(pattern);
    expect(ignored.filter((path) => !ignore(path, false))).toEqual([]);
    expect(kept.filter((path) => ignore(path, false))).toEqual([]);
  });

  test('with a slash at its end means folders only', () => {
    const ignore = parseIgnore('build/');
    expect([ignore('build', true), ignore('x/build', true), ignore('build', false)]).toEqual([true, true, false]);
  });

  test('that cannot be one is an error that quotes it', () => {
    expect(() => parseIgnore('a\n[z-a].js')).toThrow('.fnignore: "[z-a].js" is not a pattern');
  });
});
