import { expect, test } from 'vitest';
import { parseLdd, targetInImage } from '../../../templates/node/shared-libraries.ts';

test("the libraries and the loader are found in the output of ldd, the kernel's own is not", () => {
  const output = [
    '\tlinux-vdso.so.1 (0x00007f55250fc000)',
    '\tlibstdc++.so.6 => /lib/x86_64-linux-gnu/libstdc++.so.6 (0x00007f5524e00000)',
    '\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f5524b3e000)',
    '\t/lib64/ld-linux-x86-64.so.2 (0x00007f55250fe000)',
    '',
  ].join('\n');
  expect(parseLdd(output, 'node')).toEqual([
    '/lib/x86_64-linux-gnu/libstdc++.so.6',
    '/lib/x86_64-linux-gnu/libc.so.6',
    '/lib64/ld-linux-x86-64.so.2',
  ]);
});

test('a library that is not installed is named', () => {
  expect(() => parseLdd('\tlibatomic.so.1 => not found\n', '/opt/node')).toThrow(
    expect.objectContaining({
      code: 'base_image_failed',
      message: '/opt/node needs libatomic.so.1, which is not installed',
    }),
  );
});

test.each([
  ['/lib/x86_64-linux-gnu/libm.so.6', 'usr/lib/x86_64-linux-gnu/libm.so.6'],
  ['/usr/lib/x86_64-linux-gnu/libm.so.6', 'usr/lib/x86_64-linux-gnu/libm.so.6'],
  ['/lib/aarch64-linux-gnu/libm.so.6', 'usr/lib/aarch64-linux-gnu/libm.so.6'],
  ['/lib64/ld-linux-x86-64.so.2', 'usr/lib64/ld-linux-x86-64.so.2'],
  ['/lib/ld-linux-aarch64.so.1', 'usr/lib/ld-linux-aarch64.so.1'],
  ['/opt/gcc/lib64/libstdc++.so.6', 'usr/lib/x86_64-linux-gnu/libstdc++.so.6'],
])('%s is put where the loader of the image looks', (path, target) => {
  expect(targetInImage(path, '/lib/x86_64-linux-gnu')).toBe(target);
});
