import { expect, test } from 'vitest';
import { digestOf } from '../../../runtime/spec/digest.ts';
import { composeImageConfig, decodeImageConfig, encodeImageConfig } from '../../../runtime/spec/image-config.ts';

const [lower, upper] = [digestOf('lower'), digestOf('upper')];
const architecture = 'amd64';

test('an image over a base has its layers and execution parameters, with its own on top', () => {
  const base = composeImageConfig({
    diffIds: [lower],
    labels: { kept: '1', changed: '1' },
    execution: { Env: ['A=1'], WorkingDir: '/work' },
    architecture: 'arm64',
  });
  const image = composeImageConfig({
    base,
    diffIds: [upper],
    labels: { changed: '2' },
    execution: { Env: ['B=2'] },
    architecture,
  });
  expect(image).toEqual({
    architecture: 'arm64',
    os: 'linux',
    config: { Env: ['B=2'], WorkingDir: '/work', Labels: { kept: '1', changed: '2' } },
    rootfs: { type: 'layers', diff_ids: [lower, upper] },
  });
});

test('the same parts give the same bytes, in whatever order they are named', () => {
  const one = composeImageConfig({
    diffIds: [lower],
    labels: { a: '1', b: '2' },
    execution: { User: '1', Cmd: ['x'] },
    architecture,
  });
  const other = composeImageConfig({
    architecture,
    execution: { Cmd: ['x'], User: '1' },
    labels: { b: '2', a: '1' },
    diffIds: [lower],
  });
  expect(encodeImageConfig(one).equals(encodeImageConfig(other))).toBe(true);
});

test('history keeps one entry for each layer where the base has one', () => {
  const base = { ...composeImageConfig({ diffIds: [lower], architecture }), history: [{ created_by: 'ADD' }] };
  expect(composeImageConfig({ base, diffIds: [upper], architecture }).history).toHaveLength(2);
});

test('a configuration of another tool is read, with its nulls as absent and its own members kept', () => {
  const text = JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    docker_version: '27',
    config: { Env: null, Cmd: ['sh'], Labels: null, ExposedPorts: { '80/tcp': {} }, OnBuild: [] },
    rootfs: { type: 'layers', diff_ids: [lower] },
  });
  const config = decodeImageConfig(Buffer.from(text));
  expect(config.docker_version).toBe('27');
  expect(config.config).toMatchObject({ Cmd: ['sh'], ExposedPorts: { '80/tcp': {} }, OnBuild: [] });
  expect(config.config?.Env).toBeUndefined();
});

test.each([
  ['{"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}', 'image config: architecture: '],
  ['{"architecture":"amd64","os":"linux"}', 'image config: rootfs: '],
  [
    '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["x"]}}',
    'rootfs.diff_ids.0: expected sha256',
  ],
  [
    '{"architecture":"amd64","os":"linux","config":{"Env":"A=1"},"rootfs":{"type":"layers","diff_ids":[]}}',
    'config.Env: ',
  ],
])('%s is refused, naming the member', (text, reason) => {
  expect(() => decodeImageConfig(Buffer.from(text))).toThrow(
    expect.objectContaining({ code: 'invalid_manifest', message: expect.stringContaining(reason) }),
  );
});
