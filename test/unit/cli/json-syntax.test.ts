import { describe, expect, test } from 'vitest';
import { findJsonMistake } from '../../../services/cli/deploy/json-syntax.ts';

const mistakes: [text: string, index: number, expected: string][] = [
  ['', 0, 'a value'],
  ['{', 1, 'a property name in double quotes'],
  ['{"a" 1}', 5, '":"'],
  ['{"a":1 "b":2}', 7, '"," or "}"'],
  ['{"a":1,}', 7, 'a property name in double quotes after the comma'],
  ["{'a':1}", 1, 'a property name in double quotes'],
  ['[1,2', 4, '"," or "]"'],
  ['[1,]', 3, 'a value after the comma'],
  ['{"a":tru}', 5, 'a value'],
  ['{"a":01}', 5, 'a value'],
  ['{"a":"b\\x"}', 7, 'a valid escape'],
  ['{"a":"b\n"}', 7, 'the closing double quote'],
  ['{"a":1} x', 8, 'the end of the file'],
  ['{"a":1, // no\n"b":2}', 8, 'a property name in double quotes'],
];
const valid = ['{}', ' [ ] ', '"a\\u00e9\\n"', '-1.5e+3', '{"a":{"b":[1,true,null,"x"]},"c":""}\n', '[[[]]]', '0'];

describe('a text that is not JSON', () => {
  test.each(mistakes)('%j: the mistake is at %i, where %s should be', (text, index, expected) => {
    expect(() => JSON.parse(text)).toThrow();
    expect(findJsonMistake(text)).toEqual({ index, expected });
  });
});

test.each(valid)('%j, which is JSON, has no mistake', (text) => {
  expect(() => JSON.parse(text)).not.toThrow();
  expect(findJsonMistake(text)).toBeUndefined();
});

test('with any one character taken out, a document has a mistake exactly when JSON.parse finds one', () => {
  const text = '{"name": "a\\n", "list": [1, -2.5e3, true], "sub": {"x": null}}';
  for (let index = 0; index < text.length; index += 1) {
    const damaged = text.slice(0, index) + text.slice(index + 1);
    let valid = true;
    try {
      JSON.parse(damaged);
    } catch {
      valid = false;
    }
    expect([damaged, findJsonMistake(damaged) === undefined]).toEqual([damaged, valid]);
  }
});
