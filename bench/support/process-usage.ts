/** What processes use, from `/proc`: processor time and memory. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

let ticksPerSecond: number | undefined;

/** Processor time so far, user and system, in milliseconds; the kernel counts in steps of 10. 0 for one that is gone. */
export function cpuMs(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === undefined) return 0;
  // The name in parentheses may itself contain blanks and parentheses.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  ticksPerSecond ??= Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticksPerSecond;
}

export interface MemoryUse {
  /** Own pages and a fair share of those that others have, too. */
  readonly pssMib: number;
  readonly privateDirtyMib: number;
  readonly residentMib: number;
  /** Of the kernel, for this process's address space. */
  readonly pageTablesMib: number;
}

/** @throws Error when the process is gone */
export function memoryUse(pid: number): MemoryUse {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    pssMib: mebibytes(rollup, 'Pss'),
    privateDirtyMib: mebibytes(rollup, 'Private_Dirty'),
    residentMib: mebibytes(rollup, 'Rss'),
    pageTablesMib: mebibytes(status, 'VmPTE'),
  };
}

/** What the kernel says could still be given out: all of an instance counts here, whoever is charged for it. */
export function availableMemoryMib(): number {
  return mebibytes(readFileSync('/proc/meminfo', 'utf8'), 'MemAvailable');
}

function mebibytes(text: string, field: string): number {
  const kibibytes = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1];
  if (kibibytes === undefined) throw new Error(`the kernel tells no ${field}`);
  return Number(kibibytes) / 1024;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}
