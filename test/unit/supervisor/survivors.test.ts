import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  endSurvivors,
  findSurvivors,
  isAlive,
  readStartTime,
  writeRecords,
} from '../../../services/cli/supervisor/survivors.ts';

let folder: string;
let file: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stoke-survivors-'));
  file = join(folder, 'processes.json');
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

async function startShell(code: string): Promise<{ name: string; pid: number; startTime: string }> {
  const child = spawn('sh', ['-c', `${code} echo up; while :; do read line; done`], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  children.push(child);
  await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
  const pid = child.pid as number;
  return { name: 'shell', pid, startTime: readStartTime(pid) as string };
}

test('a recorded process that still runs is ended and the record removed', async () => {
  const survivor = await startShell('');
  writeRecords(file, [survivor]);
  expect(findSurvivors(file)).toEqual([survivor]);
  expect(await endSurvivors(file, 5_000)).toEqual([survivor]);
  expect(isAlive(survivor)).toBe(false);
  expect(existsSync(file)).toBe(false);
});

test('one that ignores SIGTERM is killed after the bound', async () => {
  const survivor = await startShell(`trap '' TERM;`);
  writeRecords(file, [survivor]);
  await endSurvivors(file, 200);
  expect(isAlive(survivor)).toBe(false);
});

test('a process that only has the pid of a recorded one is left alone', async () => {
  const bystander = await startShell('');
  writeRecords(file, [{ ...bystander, startTime: '1' }]);
  expect(await endSurvivors(file, 1_000)).toEqual([]);
  expect(isAlive(bystander)).toBe(true);
});

test('without a record there are no survivors', () => {
  expect(findSurvivors(file)).toEqual([]);
});

test('a process that has ended has no start time', async () => {
  const child = spawn('true');
  await once(child, 'exit');
  expect(readStartTime(child.pid as number)).toBeUndefined();
});
