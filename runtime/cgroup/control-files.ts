/**
 * Which control files say what, on cgroup v1 and v2. Pure: limits to a list of writes, file contents to numbers.
 * Documentation: Linux admin-guide/cgroup-v2.rst, admin-guide/cgroup-v1/.
 */

export type CgroupVersion = 1 | 2;

/** v1 mounts each of these as a hierarchy of its own (or several as one); v2 has one hierarchy for all. */
export const v1Controllers = ['memory', 'cpu', 'cpuacct', 'pids', 'freezer'] as const;
export const v2Controllers = ['memory', 'cpu', 'pids'] as const;
export type Controller = (typeof v1Controllers)[number];

export interface CgroupLimits {
  readonly memoryBytes: number;
  /** Cores. */
  readonly cpu: number;
  readonly pids: number;
}

export interface ControlWrite {
  readonly controller: Controller;
  readonly file: string;
  readonly value: string;
  /** The kernel may be built without this file; then the limit does not apply. */
  readonly optional?: true;
}

/** Longer periods let a short burst finish unthrottled; this is the kernel's default. */
const cpuPeriodMicroseconds = 100_000;

/** In the order in which they must be written. */
export function limitWrites(version: CgroupVersion, limits: CgroupLimits): ControlWrite[] {
  const memory = String(limits.memoryBytes);
  const quota = String(Math.max(1000, Math.round(limits.cpu * cpuPeriodMicroseconds)));
  if (version === 2) {
    return [
      { controller: 'memory', file: 'memory.max', value: memory },
      { controller: 'memory', file: 'memory.swap.max', value: '0', optional: true },
      // One process of a container that is out of memory is no use without the others.
      { controller: 'memory', file: 'memory.oom.group', value: '1', optional: true },
      { controller: 'cpu', file: 'cpu.max', value: `${quota} ${cpuPeriodMicroseconds}` },
      { controller: 'pids', file: 'pids.max', value: String(limits.pids) },
    ];
  }
  return [
    { controller: 'memory', file: 'memory.limit_in_bytes', value: memory },
    // Memory and swap together, so none for swap; it must not be below the memory limit, hence the order.
    { controller: 'memory', file: 'memory.memsw.limit_in_bytes', value: memory, optional: true },
    { controller: 'cpu', file: 'cpu.cfs_quota_us', value: quota },
    { controller: 'pids', file: 'pids.max', value: String(limits.pids) },
  ];
}

export interface CgroupStats {
  readonly memoryBytes: number;
  /** Null where the kernel does not keep it (v2 before 5.19). */
  readonly memoryPeakBytes: number | null;
  readonly cpuMicroseconds: number;
  readonly throttledMicroseconds: number;
  readonly pids: number;
  /** Processes of the group that the kernel killed because it was out of memory. */
  readonly oomKills: number;
}

/** Reads one control file; undefined when the kernel has no such file. */
export type ReadControl = (controller: Controller, file: string) => string | undefined;

export function readStats(version: CgroupVersion, read: ReadControl): CgroupStats {
  const number = (controller: Controller, file: string) => Number(read(controller, file) ?? Number.NaN) || 0;
  const field = (controller: Controller, file: string, key: string) => flatKeyed(read(controller, file) ?? '', key);
  if (version === 2) {
    const peak = read('memory', 'memory.peak');
    return {
      memoryBytes: number('memory', 'memory.current'),
      memoryPeakBytes: peak === undefined ? null : Number(peak),
      cpuMicroseconds: field('cpu', 'cpu.stat', 'usage_usec'),
      throttledMicroseconds: field('cpu', 'cpu.stat', 'throttled_usec'),
      pids: number('pids', 'pids.current'),
      oomKills: field('memory', 'memory.events', 'oom_kill'),
    };
  }
  return {
    memoryBytes: number('memory', 'memory.usage_in_bytes'),
    memoryPeakBytes: number('memory', 'memory.max_usage_in_bytes'),
    cpuMicroseconds: Math.round(number('cpuacct', 'cpuacct.usage') / 1000),
    throttledMicroseconds: Math.round(field('cpu', 'cpu.stat', 'throttled_time') / 1000),
    pids: number('pids', 'pids.current'),
    oomKills: field('memory', 'memory.oom_control', 'oom_kill'),
  };
}

/** `key value` lines, as in cpu.stat; 0 when the key is not there. */
function flatKeyed(text: string, key: string): number {
  for (const line of text.split('\n')) {
    if (line.startsWith(`${key} `)) return Number(line.slice(key.length + 1));
  }
  return 0;
}

/** The write that freezes or thaws a group. */
export function freezeWrite(version: CgroupVersion, frozen: boolean): ControlWrite {
  if (version === 2) return { controller: 'memory', file: 'cgroup.freeze', value: frozen ? '1' : '0' };
  return { controller: 'freezer', file: 'freezer.state', value: frozen ? 'FROZEN' : 'THAWED' };
}

/** Whether the group is frozen to the last process. */
export function isFrozen(version: CgroupVersion, read: ReadControl): boolean {
  if (version === 2) return flatKeyed(read('memory', 'cgroup.events') ?? '', 'frozen') === 1;
  return read('freezer', 'freezer.state')?.trim() === 'FROZEN';
}
