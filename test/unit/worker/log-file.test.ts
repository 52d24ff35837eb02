/** One function's log on disk. */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { LogEntry } from '../../../services/contracts/invocation.ts';
import { LogFile, type LogQuery } from '../../../services/worker/log-file.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stoke-log-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const bounds = { segmentBytes: 1000, segments: 3 };

function entry(text: string, invocation: string | null = null): LogEntry {
  return { t: Date.now(), invocation, version: 1, instance: 'i', stream: 'stdout', text };
}

async function texts(log: LogFile, query: LogQuery = {}): Promise<string[]> {
  const found: string[] = [];
  for await (const lines of log.read(query)) for (const line of lines) found.push((JSON.parse(line) as LogEntry).text);
  return found;
}

test('what was appended is read back in order, also by a later worker', async () => {
  const log = new LogFile(join(folder, 'a'), bounds);
  expect(await texts(log)).toEqual([]);
  log.append(entry('one'));
  log.append(entry('two\nlines "quoted"'));
  expect(await texts(log)).toEqual(['one', 'two\nlines "quoted"']);
  const later = new LogFile(join(folder, 'a'), bounds);
  later.append(entry('three'));
  expect(await texts(later)).toEqual(['one', 'two\nlines "quoted"', 'three']);
});

test('old segments go, and the rest stays within the bounds', async () => {
  const log = new LogFile(join(folder, 'a'), bounds);
  for (let count = 0; count < 100; count++) {
    log.append(entry(`entry ${count}`));
    await log.flush();
  }
  const names = readdirSync(join(folder, 'a'));
  expect(names).toHaveLength(bounds.segments);
  for (const name of names) expect(statSync(join(folder, 'a', name)).size).toBeLessThan(bounds.segmentBytes + 200);
  const kept = await texts(log);
  expect(kept.at(-1)).toBe('entry 99');
  expect(kept).toEqual(Array.from(kept, (_, at) => `entry ${100 - kept.length + at}`));
  expect(await texts(log, { tail: 15 })).toEqual(kept.slice(-15));
  expect(await texts(log, { tail: 0 })).toEqual([]);
});

test('an invocation’s lines are found by its id, and a line that only speaks of it is not', async () => {
  const log = new LogFile(join(folder, 'a'), bounds);
  const hex = Date.now().toString(16).padStart(12, '0');
  const id = `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000001`;
  for (let count = 0; count < 10; count++) log.append(entry(`mine ${count}`, id));
  log.append(entry(`"invocation":"${id}"`, 'another'));
  expect(await texts(log, { invocation: id })).toEqual(Array.from({ length: 10 }, (_, at) => `mine ${at}`));
  expect(await texts(log, { invocation: id, tail: 2 })).toEqual(['mine 8', 'mine 9']);
});

test('what is appended during a reading is not part of it', async () => {
  const log = new LogFile(join(folder, 'a'));
  log.append(entry('before'));
  const reading = texts(log);
  log.append(entry('after'));
  await log.flush();
  expect(await reading).toEqual(['before']);
  expect(await texts(log)).toEqual(['before', 'after']);
});

test('a removed log is empty and can be written again', async () => {
  const log = new LogFile(join(folder, 'a'), bounds);
  log.append(entry('old'));
  await log.flush();
  await log.remove();
  expect(await texts(log)).toEqual([]);
  log.append(entry('new'));
  expect(await texts(log)).toEqual(['new']);
});
