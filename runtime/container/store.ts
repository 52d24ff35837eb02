/**
 * Records of containers on disk, one file each, so that a daemon finds what an earlier one started. They lie in the run
 * directory: after a reboot there are no containers. One writer: the daemon.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface ContainerRecord {
  /** Of this shape. */
  readonly format: 1;
  readonly id: string;
  readonly owner: string;
  readonly image: string;
  /** Name of its control group. */
  readonly cgroup: string;
  readonly pid: number;
  /** Start time of the process in clock ticks since boot: a recycled pid has another. */
  readonly startTicks: number;
  readonly uid: number;
  readonly memoryBytes: number;
  readonly createdAtMs: number;
}

export class ContainerStore {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  save(record: ContainerRecord): void {
    const path = this.#path(record.id);
    writeFileSync(`${path}.new`, JSON.stringify(record), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }

  remove(id: string): void {
    rmSync(this.#path(id), { force: true });
  }

  /** Every whole record; what a crash left half-written is removed. */
  load(): ContainerRecord[] {
    const records: ContainerRecord[] = [];
    for (const file of readdirSync(this.#directory)) {
      const record = file.endsWith('.json') ? parse(readFileSync(join(this.#directory, file), 'utf8')) : undefined;
      if (record) records.push(record);
      else rmSync(join(this.#directory, file), { force: true });
    }
    return records;
  }

  #path(id: string): string {
    return join(this.#directory, `${id}.json`);
  }
}

function parse(text: string): ContainerRecord | undefined {
  try {
    const record = JSON.parse(text) as ContainerRecord;
    return record.format === 1 ? record : undefined;
  } catch {
    return undefined; // not one of ours any more: its container is found by its control group, and removed
  }
}

/**
 * Start time of a process, field 22 of /proc/<pid>/stat (proc(5)).
 * @returns undefined when there is no such process, or nothing of it but its exit status
 */
export function processStartTicks(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the command in parentheses and may contain anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie whose new parent does not reap it stays for ever; it is dead all the same.
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : Number(fields[19]);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}
