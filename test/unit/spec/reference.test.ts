import { expect, test } from 'vitest';
import { formatReference, parseReference, withDefaultTag } from '../../../runtime/spec/reference.ts';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

test.each([
  ['nginx', { repository: 'nginx' }],
  ['nginx:1.27', { repository: 'nginx', tag: '1.27' }],
  ['stoke/node:24', { repository: 'stoke/node', tag: '24' }],
  ['a/b/c__d/e-f.g_h---i', { repository: 'a/b/c__d/e-f.g_h---i' }],
  ['localhost/app', { registry: 'localhost', repository: 'app' }],
  ['localhost:5000/app:v1', { registry: 'localhost:5000', repository: 'app', tag: 'v1' }],
  ['registry.example.org/team/app', { registry: 'registry.example.org', repository: 'team/app' }],
  ['Registry.Example.org/app', { registry: 'Registry.Example.org', repository: 'app' }],
  ['[::1]:5000/app', { registry: '[::1]:5000', repository: 'app' }],
  ['app:5000', { repository: 'app', tag: '5000' }],
  ['app:_Tag-1.0', { repository: 'app', tag: '_Tag-1.0' }],
  [`app@${digest}`, { repository: 'app', digest }],
  [`host:80/app:v1@${digest}`, { registry: 'host:80', repository: 'app', tag: 'v1', digest }],
])('%s has these parts, and is written from them again', (text, reference) => {
  expect(parseReference(text)).toEqual(reference);
  expect(formatReference(parseReference(text))).toBe(text);
});

test.each([
  ['', 'it is empty; expected name[:tag][@digest]'],
  ['my app', 'it has white space'],
  ['https://host.example/app', 'it has a scheme; write it without'],
  ['App', '"App" has upper-case letters; use "app"'],
  ['team/App', '"App" has upper-case letters; use "app"'],
  [':v1', 'the name is missing; expected name[:tag][@digest]'],
  ['/app', 'a slash with nothing before or behind it'],
  ['app//x', 'a slash with nothing before or behind it'],
  ['app/', 'a slash with nothing before or behind it'],
  ['../app', 'registry ".." is not host or host:port'],
  ['a..b', '"a..b" is not a-z and 0-9, joined by ".", "_", "__" or "-"'],
  ['-app', '"-app" is not a-z and 0-9, joined by ".", "_", "__" or "-"'],
  ['app_', '"app_" is not a-z and 0-9, joined by ".", "_", "__" or "-"'],
  ['app:', 'tag "" is not 1 to 128 of letters, digits'],
  ['app:.x', 'tag ".x" is not 1 to 128 of letters, digits'],
  ['app:a:b', 'tag "a:b" is not 1 to 128 of letters, digits'],
  [`app:${'x'.repeat(129)}`, 'is not 1 to 128 of letters, digits'],
  ['app@sha256:12', 'digest "sha256:12" is not sha256:<64 lower-case hex digits>'],
  ['app@', 'digest "" is not sha256:<64 lower-case hex digits>'],
  ['host:99999/app', 'registry "host:99999": port 99999 is above 65535'],
  ['host:port/app', 'registry "host:port" is not host or host:port'],
  ['-host.example/app', 'registry "-host.example" is not host or host:port'],
  ['a'.repeat(256), 'the name is 256 characters long; at most 255 are allowed'],
])('%s is refused with the part that is wrong', (text, reason) => {
  expect(() => parseReference(text)).toThrow(
    expect.objectContaining({ code: 'invalid_reference', message: expect.stringContaining(reason) }),
  );
});

test('a reference without tag and digest means the tag "latest"', () => {
  expect(withDefaultTag(parseReference('app'))).toEqual({ repository: 'app', tag: 'latest' });
  expect(withDefaultTag(parseReference('app:v1'))).toEqual({ repository: 'app', tag: 'v1' });
  expect(withDefaultTag(parseReference(`app@${digest}`))).toEqual({ repository: 'app', digest });
});
