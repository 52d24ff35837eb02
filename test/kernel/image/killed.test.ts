import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { file, filesOf, putEntries, scratchStore } from './scratch-store.ts';

const program = new URL('./putting-process.ts', import.meta.url).pathname;

function start(directory: string, ...args: string[]): ChildProcess {
  const { NODE_EXTRA_CA_CERTS: _unused, NODE_OPTIONS: _none, ...env } = process.env;
  return spawn(process.execPath, [program, directory, ...args], { stdio: ['ignore', 'pipe', 'inherit'], env });
}

/** Reads lines until `enough` says so, kills the process as it is, and gives the lines that it got to write. */
async function killAfter(child: ChildProcess, enough: (lines: string[]) => boolean): Promise<string[]> {
  const lines: string[] = [];
  const exited = once(child, 'exit');
  for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
    lines.push(line);
    if (enough(lines)) child.kill('SIGKILL');
  }
  await exited;
  return lines;
}

test('a process killed in the middle of a layer leaves nothing of it', async () => {
  await using scratch = await scratchStore();
  const layer = await putEntries(scratch.store, [file('good', 'x')]);
  const before = await filesOf(scratch.directory);
  await scratch.store.close();

  expect(await killAfter(start(scratch.directory, 'stall'), () => true)).toEqual(['stalled']);
  expect(existsSync(`${scratch.directory}/partial/layers`)).toBe(true);
  expect((await filesOf(scratch.directory)).filter((path) => path.startsWith('partial/'))).not.toEqual([]);

  const store = await scratch.reopen();
  expect(await filesOf(scratch.directory)).toEqual(before);
  expect(store.hasLayer(layer)).toBe(true);
});

test('a process killed at any moment leaves every image that it said was stored, whole, and nothing half-made', async () => {
  await using scratch = await scratchStore();
  const stored: { digest: string; text: string; tag: string }[] = [];
  for (let round = 1; round <= 6; round += 1) {
    await scratch.store.close();
    const child = start(scratch.directory);
    const lines = await killAfter(child, (seen) => seen.length === round * 2);
    // Those that came between the kill and its taking effect count too.
    stored.push(...lines.map((line) => JSON.parse(line) as (typeof stored)[number]));

    const store = await scratch.reopen();
    const partial = (await filesOf(scratch.directory)).filter((path) => path.startsWith('partial/'));
    expect(partial).toEqual([]);
    for (const { digest, text } of stored) {
      const { layerDirectories } = await store.resolve(digest);
      expect(readFileSync(`${layerDirectories[0]}/first`, 'utf8')).toBe(text);
      expect(readFileSync(`${layerDirectories[0]}/second`, 'utf8')).toBe(text);
    }
    for (const { digest } of await store.list()) await store.resolve(digest);
  }
  expect(stored.length).toBeGreaterThanOrEqual(42);
  await scratch.store.removeUnreferenced(0);
  const images = await scratch.store.list();
  expect(readdirSync(`${scratch.directory}/layers`)).toHaveLength(images.length);
  // A manifest, a configuration and an archive each.
  expect(readdirSync(`${scratch.directory}/blobs/sha256`)).toHaveLength(images.length * 3);
});
