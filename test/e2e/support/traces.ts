/**
 * Everything an installation has on the machine outside of its home: processes, mounts, control groups, sockets, files.
 * Looks for itself, not through the platform's own code, which may be what is wrong.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../../../services/platform/config.ts';

type Place = Pick<Config, 'home' | 'run' | 'installation'>;

/** @returns one line for each, empty when nothing is there */
export function findTraces(place: Place): string[] {
  return [
    ...findProcesses(place).map(({ pid, command }) => `process ${pid} ${command}`),
    ...findMounts(place).map((path) => `mount ${path}`),
    ...findControlGroups(place).map((path) => `cgroup ${path}`),
    ...findSockets(place).map((path) => `socket ${path}`),
    ...findFiles(place.run).map((path) => `file ${path}`),
  ];
}

export interface FoundProcess {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
}

/** Those in its control groups, and those that were started with its folders in their command or environment. */
export function findProcesses({ home, run, installation }: Place): FoundProcess[] {
  const found: FoundProcess[] = [];
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const stat = readProc(pid, 'stat');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // Of a zombie only the exit status is left; its parent has to fetch it.
    if (stat === '' || fields[0] === 'Z') continue;
    const command = readProc(pid, 'cmdline').replaceAll('\0', ' ').trim();
    const inGroup = readProc(pid, 'cgroup').includes(`/stoke-${installation}`);
    const environment = readProc(pid, 'environ').split('\0');
    const named =
      command.includes(`${run}/`) || command.includes(`${home}/`) || environment.includes(`STOKE_HOME=${home}`);
    if (inGroup || named) found.push({ pid, parent: Number(fields[1]), command: command || stat.slice(0, 40) });
  }
  return found;
}

export function findMounts({ home, run }: Place): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path.startsWith(`${home}/`) || path.startsWith(`${run}/`));
}

/** The installation's own group in each hierarchy. */
export function findControlGroups({ installation }: Place): string[] {
  return controllers()
    .map((folder) => join(folder, `stoke-${installation}`))
    .filter((path) => existsSync(path));
}

export interface ContainerGroup {
  readonly name: string;
  /** None in a group that was made ahead, or whose container has ended. */
  readonly pids: readonly number[];
}

/** The groups of single containers, each once, however many hierarchies there are. */
export function findContainerGroups(place: Place): ContainerGroup[] {
  const pids = new Map<string, Set<number>>();
  for (const folder of findControlGroups(place)) {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      const known = pids.get(entry.name) ?? new Set();
      pids.set(entry.name, known);
      const listed = readIfThere(join(folder, entry.name, 'cgroup.procs'));
      for (const pid of listed.split('\n')) if (pid !== '') known.add(Number(pid));
    }
  }
  return [...pids].map(([name, found]) => ({ name, pids: [...found] }));
}

function controllers(): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => line.split(' ')[4] as string);
}

function findSockets({ home, run, installation }: Place): string[] {
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/)[7] ?? '')
    .filter((path) => path.startsWith(`${run}/`) || path.startsWith(`${home}/`) || path === `@stoke-${installation}`);
}

function findFiles(run: string): string[] {
  return existsSync(run) ? [run, ...readdirSync(run, { recursive: true }).map((path) => join(run, String(path)))] : [];
}

function readProc(pid: number, file: string): string {
  return readIfThere(`/proc/${pid}/${file}`);
}

/** Empty for what has ended meanwhile, or what not even root may look into: that is not ours. */
function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'ENODEV' || code === 'EACCES') return '';
    throw error;
  }
}
