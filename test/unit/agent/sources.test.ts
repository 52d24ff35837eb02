/** The pure parts of loading: which export is the handler, which file an import means, what is a module. */
import { describe, expect, it } from 'vitest';
import type { InvocationContext } from '../../../templates/node/agent/context.ts';
import { userFrames } from '../../../templates/node/agent/failures.ts';
import { findHandler } from '../../../templates/node/agent/find-handler.ts';
import { findSource, isModule } from '../../../templates/node/agent/stripped-sources.ts';
import { failingLine } from '../../../templates/node/agent/syntax-location.ts';

describe('the handler among the exports', () => {
  const context = {} as InvocationContext;
  const request = new Request('http://h.test');
  const object = { fetch: () => 'object' };
  const named = () => 'named';
  const plain = () => 'plain';
  const cases = [
    { what: 'a default object with fetch', exports: { default: object, handler: named }, answer: 'object' },
    {
      what: 'a function called handler before a default function',
      exports: { default: plain, handler: named },
      answer: 'named',
    },
    { what: 'a default function', exports: { default: plain, other: named }, answer: 'plain' },
    { what: 'module.exports with fetch', exports: object, answer: 'object' },
    { what: 'module.exports as a function', exports: plain, answer: 'plain' },
    { what: 'module.exports.handler seen through import', exports: { default: { handler: named } }, answer: 'named' },
    { what: 'a transpiled default seen through import', exports: { default: { default: object } }, answer: 'object' },
  ];
  it.each(cases)('is $what', ({ exports, answer }) => {
    const found = findHandler(exports);
    if ('found' in found) throw new Error(found.found);
    expect(found.call(request, context)).toBe(answer);
  });

  it('may be missing: then what is there is named', () => {
    expect(findHandler({})).toEqual({ found: 'no exports' });
    expect(findHandler(null)).toEqual({ found: 'null' });
    expect(findHandler({ default: {}, handler: 3 })).toEqual({
      found: 'default (object without keys), handler (number)',
    });
  });
});

it('an import means the file itself, its TypeScript twin, a file with an extension, or an index', () => {
  const files = new Set(['/t/a.js', '/t/a.ts', '/t/b.ts', '/t/c.mts', '/t/d/index.ts', '/t/e.js', '/t/e/index.ts']);
  const find = (path: string) => findSource(path, (one) => files.has(one));
  expect(find('/t/a.js')).toBe('/t/a.js');
  expect(find('/t/b.js')).toBe('/t/b.ts');
  expect(find('/t/c.mjs')).toBe('/t/c.mts');
  expect(find('/t/d')).toBe('/t/d/index.ts');
  expect(find('/t/e')).toBe('/t/e.js');
  expect(find('/t/f')).toBeUndefined();
});

describe('source text is a module', () => {
  const modules = [
    'import a from "a"',
    'export const a = 1',
    'await null',
    'import.meta.url',
    'const require = 1; await 0',
  ];
  it.each(modules)('when it is %s', (source) => expect(isModule(source)).toBe(true));
  const others = [
    'module.exports = 1',
    'import("a")',
    'const b = ;',
    '// export const a\n"import a"',
    '#!/usr/bin/env node\n1',
  ];
  it.each(others)('and not when it is %s', (source) => expect(isModule(source)).toBe(false));
});

describe('a syntax error in a module', () => {
  const broken = "Unexpected token ';'";
  const sources = [
    { source: 'import {\n  a,\n  b,\n} from "x";\nconst c = ;', line: 5 },
    {
      source: 'export { a } from "x";\nexport * as y from "y";\nexport default function () {\n  return ;\n}\nlet z = ;',
      line: 6,
    },
    {
      source: 'const a = await import("a");\nexport default { a, url: import.meta.url };\nexport class B { x = ; }',
      line: 3,
    },
  ];
  it.each(sources)('is found on line $line', ({ source, line }) => expect(failingLine(source, broken)).toBe(line));

  it('is not claimed for another error, or none', () => {
    expect(failingLine('export const a = (;', broken)).toBe(1);
    expect(failingLine('export const a = (;', 'Unexpected identifier')).toBeUndefined();
    expect(failingLine('export const a = 1;', broken)).toBeUndefined();
  });
});

it('stack frames outside of the function are left out', () => {
  const stack = [
    'Error: x',
    '    at f (file:///var/task/lib/a.ts:1:2)',
    '    at node:internal/process:3:4',
    '    at Module.g (/var/task/node_modules/p/i.js:5:6)',
    '    at agent (/srv/agent.js:7:8)',
  ].join('\n');
  expect(userFrames(stack, '/var/task')).toEqual(['at f (lib/a.ts:1:2)', 'at Module.g (node_modules/p/i.js:5:6)']);
});
