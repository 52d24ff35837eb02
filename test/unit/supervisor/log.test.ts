import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LogFile } from '../../../services/cli/supervisor/log-file.ts';
import { readLogLine } from '../../../services/cli/supervisor/log-line.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stoke-log-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

test('a full log becomes the older of two files, which together stay within twice the bound', () => {
  const path = join(folder, 'worker.log');
  const log = new LogFile(path, 100);
  for (let number = 0; number < 50; number++) log.write(`line ${String(number).padStart(4, '0')}`);
  log.close();
  const older = readFileSync(`${path}.1`, 'utf8');
  const newer = readFileSync(path, 'utf8');
  expect(statSync(path).size).toBeLessThanOrEqual(100);
  expect(statSync(`${path}.1`).size).toBeLessThanOrEqual(100);
  expect(`${older}${newer}`).toMatch(/line 0040\n.*line 0049\n$/s);
});

test('a log goes on where an earlier run ended', () => {
  const path = join(folder, 'worker.log');
  writeFileSync(path, 'before\n');
  const log = new LogFile(path);
  log.write('after');
  log.close();
  expect(readFileSync(path, 'utf8')).toBe('before\nafter\n');
});

test('a link in the place of a log is not followed', () => {
  symlinkSync(join(folder, 'elsewhere'), join(folder, 'worker.log'));
  expect(() => new LogFile(join(folder, 'worker.log')).write('text')).toThrow(/ELOOP/);
});

test.each([
  ['{"level":30,"msg":"ready"}', { level: 'info', text: 'ready' }],
  ['{"level":40,"msg":"slow","err":{"message":"disk"}}', { level: 'warn', text: 'slow: disk' }],
  [
    '{"level":60,"msg":"listen EADDRINUSE","err":{"message":"listen EADDRINUSE","code":"EADDRINUSE"}}',
    { level: 'error', text: 'listen EADDRINUSE', code: 'EADDRINUSE' },
  ],
  [
    '12:M 01 Jan 2026 10:00:00.000 * Ready to accept connections',
    { level: 'info', text: 'Ready to accept connections' },
  ],
  ["12:M 01 Jan 2026 10:00:00.000 # Can't save", { level: 'warn', text: "Can't save" }],
  ['FATAL ERROR: heap out of memory', { level: 'error', text: 'FATAL ERROR: heap out of memory' }],
  ['{not json', { level: 'error', text: '{not json' }],
])('reads the log line %s', (line, expected) => {
  expect(readLogLine(line)).toEqual(expected);
});
