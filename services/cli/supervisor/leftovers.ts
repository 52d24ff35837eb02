/** What an installation that does not run should not have: processes, cgroups and mounts. Looks only. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../../platform/config.ts';
import { cgroupMounts } from '../../platform/machine.mjs';
import { findSurvivors } from './survivors.ts';

export interface Leftover {
  readonly kind: 'process' | 'cgroup' | 'mount';
  readonly what: string;
}

/** How deep below the root of a hierarchy an installation's cgroup may be: a service manager may have put us in one. */
const cgroupDepth = 3;

export function findLeftovers(config: Pick<Config, 'home' | 'run' | 'installation'>): Leftover[] {
  const processes = findSurvivors(`${config.run}/processes.json`);
  const mounts = readFileSync('/proc/self/mounts', 'utf8');
  const cgroups = cgroupMounts(mounts).flatMap(({ path }) => findCgroups(path, `stoke-${config.installation}`));
  return [
    ...processes.map(({ name, pid }): Leftover => ({ kind: 'process', what: `${name} (pid ${pid})` })),
    ...cgroups.map((what): Leftover => ({ kind: 'cgroup', what })),
    ...mountsBelow(mounts, [config.home, config.run]).map((what): Leftover => ({ kind: 'mount', what })),
  ];
}

/** A folder that is a mount of its own is the operator's; what is mounted inside it is ours. Pure. */
export function mountsBelow(mounts: string, folders: readonly string[]): string[] {
  return mounts
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => folders.some((folder) => path.startsWith(`${folder}/`)));
}

function findCgroups(folder: string, name: string, depth = cgroupDepth): string[] {
  let entries: string[];
  try {
    entries = readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []; // Removed meanwhile.
    throw error;
  }
  if (entries.includes(name)) return [join(folder, name)];
  return depth <= 1 ? [] : entries.flatMap((entry) => findCgroups(join(folder, entry), name, depth - 1));
}
