/** What a zygote may not own when it forks: the warm-up must leave none of it. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('leaves no handle, socket, thread, folder or drawn random number behind', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'agent-test-'));
  try {
    const program = join(import.meta.dirname, 'warm-up-process.ts');
    const env = { PATH: process.env.PATH, TMPDIR: folder };
    const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--single-threaded', program], { env });
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({
      threads: 0,
      poolThreads: 0,
      sockets: 0,
      open: [],
      draws: 0,
      sameConsole: true,
      folders: [],
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});
