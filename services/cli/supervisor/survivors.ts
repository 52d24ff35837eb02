/**
 * Processes that outlived a supervisor which was killed. The supervisor writes down whom it started in
 * `<run>/processes.json`, with the kernel's start time, so that a pid that means another process by now is never touched.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';

const recordSchema = z.array(z.object({ name: z.string(), pid: z.int().min(2), startTime: z.string() }));

export type ProcessRecord = z.infer<typeof recordSchema>[number];

/** How often a process that is not our child is looked at: the kernel tells only parents. */
const lookAgainMs = 20;

/** Clock ticks from boot to the start of the process; undefined when there is none, or only its exit status is left. */
export function readStartTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may itself contain blanks and parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const state = fields[0];
    return state === 'Z' || state === 'X' ? undefined : fields[19];
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}

export function isAlive({ pid, startTime }: Pick<ProcessRecord, 'pid' | 'startTime'>): boolean {
  return readStartTime(pid) === startTime;
}

/** Replaces the record at once: a reader sees the old one or the new one. */
export function writeRecords(file: string, records: readonly ProcessRecord[]): void {
  writeFileSync(`${file}.new`, JSON.stringify(records), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** @returns those of the record that still run */
export function findSurvivors(file: string): ProcessRecord[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return recordSchema.parse(JSON.parse(text)).filter(isAlive);
}

/**
 * Ends every survivor and waits until it is gone. They noticed the supervisor's death and are ending anyway; SIGTERM
 * is for one that did not.
 * @param boundMs how long they may take before SIGKILL
 */
export async function endSurvivors(file: string, boundMs: number): Promise<ProcessRecord[]> {
  const survivors = findSurvivors(file);
  for (const survivor of survivors) signal(survivor, 'SIGTERM');
  if (!(await waitUntilGone(survivors, boundMs))) {
    for (const survivor of survivors) signal(survivor, 'SIGKILL');
    if (!(await waitUntilGone(survivors, boundMs))) {
      const names = survivors.filter(isAlive).map(({ name, pid }) => `${name} (pid ${pid})`);
      throw new Error(`processes of an earlier run do not die: ${names.join(', ')}`);
    }
  }
  rmSync(file, { force: true });
  return survivors;
}

/** @returns false when one still runs after `boundMs` */
export async function waitUntilGone(
  processes: readonly Pick<ProcessRecord, 'pid' | 'startTime'>[],
  boundMs: number,
): Promise<boolean> {
  const deadline = performance.now() + boundMs;
  while (processes.some(isAlive)) {
    if (performance.now() > deadline) return false;
    await delay(lookAgainMs);
  }
  return true;
}

function signal(process_: ProcessRecord, name: 'SIGTERM' | 'SIGKILL'): void {
  if (!isAlive(process_)) return;
  try {
    process.kill(process_.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
