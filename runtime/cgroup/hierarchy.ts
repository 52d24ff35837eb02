/** Finding the machine's cgroup hierarchies, and the part of them that belongs to one installation. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { RuntimeError } from '../errors.ts';
import { type CgroupVersion, type Controller, v1Controllers, v2Controllers } from './control-files.ts';

/** Where the groups of one installation lie. On v2 all controllers have the same directory. */
export interface CgroupHierarchy {
  readonly version: CgroupVersion;
  /** Parent directory of all groups, by controller. */
  readonly parents: Readonly<Record<Controller, string>>;
  /** The distinct ones among them. */
  readonly directories: readonly string[];
}

/** Pure. Mount points by controller from the text of `/proc/self/mountinfo`; v2 when its mount offers the controllers. */
export function findMounts(mountinfo: string): { v1: Map<string, string>; v2: string | undefined } {
  const v1 = new Map<string, string>();
  let v2: string | undefined;
  for (const line of mountinfo.split('\n')) {
    const [left, right] = line.split(' - ');
    const target = left?.split(' ')[4];
    const [type, , options] = right?.split(' ') ?? [];
    if (target === undefined) continue;
    if (type === 'cgroup2') v2 ??= target;
    if (type === 'cgroup') for (const name of (options ?? '').split(',')) if (!v1.has(name)) v1.set(name, target);
  }
  return { v1, v2 };
}

/**
 * Makes the installation's groups' parent, with the controllers enabled below it. Idempotent.
 * @param name directory name, for example `stoke-1a2b3c4d`
 * @throws RuntimeError `cgroup_unavailable` that names what is missing
 */
export function openHierarchy(name: string): CgroupHierarchy {
  const { v1, v2 } = findMounts(readFileSync('/proc/self/mountinfo', 'utf8'));
  const offered = v2 === undefined ? [] : readFileSync(`${v2}/cgroup.controllers`, 'utf8').trim().split(' ');
  if (v2 !== undefined && v2Controllers.every((controller) => offered.includes(controller))) return openV2(v2, name);
  const missing = v1Controllers.filter((controller) => !v1.has(controller));
  if (missing.length > 0) {
    throw new RuntimeError(
      'cgroup_unavailable',
      `no cgroup hierarchy offers ${missing.join(', ')}; a cgroup v2 mount has to offer ${v2Controllers.join(', ')}`,
    );
  }
  const parents = {} as Record<Controller, string>;
  for (const controller of v1Controllers) {
    parents[controller] = `${v1.get(controller)}/${name}`;
    mkdirSync(parents[controller], { recursive: true });
  }
  return { version: 1, parents, directories: [...new Set(Object.values(parents))] };
}

function openV2(mount: string, name: string): CgroupHierarchy {
  const parent = `${mount}/${name}`;
  const enable = v2Controllers.map((controller) => `+${controller}`).join(' ');
  try {
    writeFileSync(`${mount}/cgroup.subtree_control`, enable);
    mkdirSync(parent, { recursive: true });
    writeFileSync(`${parent}/cgroup.subtree_control`, enable);
  } catch (cause) {
    throw new RuntimeError('cgroup_unavailable', `cannot enable ${enable} below ${mount}`, { cause });
  }
  const parents = Object.fromEntries(v1Controllers.map((controller) => [controller, parent]));
  return { version: 2, parents: parents as Record<Controller, string>, directories: [parent] };
}

/** Names of all groups that exist in any of the hierarchies: what a crash left, as well as what lives. */
export function listGroups(hierarchy: CgroupHierarchy): string[] {
  const names = new Set<string>();
  for (const directory of hierarchy.directories) {
    if (!existsSync(directory)) continue;
    for (const entry of readdirSync(directory, { withFileTypes: true })) if (entry.isDirectory()) names.add(entry.name);
  }
  return [...names];
}
