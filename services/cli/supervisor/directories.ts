/** The folders of an installation: who owns them and who may enter. The supervisor makes them; nobody else does. */
import { chmodSync, chownSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Config } from '../../platform/config.ts';
import type { User } from '../../platform/user.ts';

export interface Directory {
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** Parents first. A parent belongs to root where root writes below it, so that nobody else can put a link there. */
export function directoryPlan({ home, run }: Pick<Config, 'home' | 'run'>, { uid, gid }: User): Directory[] {
  return [
    // Everyone may pass through: containers have uids of their own.
    { path: home, uid: 0, gid, mode: 0o751 },
    { path: `${home}/redis`, uid, gid, mode: 0o700 },
    { path: `${home}/logs`, uid: 0, gid, mode: 0o750 },
    { path: `${home}/logs/functions`, uid, gid, mode: 0o750 },
    { path: run, uid: 0, gid, mode: 0o750 },
    { path: `${run}/redis`, uid, gid, mode: 0o700 },
  ];
}

export function makeDirectories(plan: readonly Directory[]): void {
  for (const { path, uid, gid, mode } of plan) {
    mkdirSync(path, { recursive: true, mode });
    chownSync(path, uid, gid);
    chmodSync(path, mode);
  }
}

/**
 * The folder above `path` that keeps the user out, for example one made by `mktemp -d`.
 * @returns undefined when the user can get there
 */
export function findBarrier(path: string, { uid, gid }: User): string | undefined {
  const parent = dirname(path);
  if (parent === path) return undefined;
  const barrier = findBarrier(parent, { name: '', uid, gid });
  if (barrier) return barrier;
  const stats = statSync(parent, { throwIfNoEntry: false });
  if (!stats) return undefined; // Made by us, so that it can be entered.
  const mayEnter = stats.uid === uid ? 0o100 : stats.gid === gid ? 0o010 : 0o001;
  return (stats.mode & mayEnter) === 0 ? parent : undefined;
}
