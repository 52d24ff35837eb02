/** Which machine and which state of the code a result is of. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { cgroupMounts } from '../../services/platform/machine.mjs';

export interface MachineDescription {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly kernel: string;
  /** `v1`, `v2`, or `v1 (hybrid)`: controllers on v1, with a v2 mount that has none. */
  readonly cgroup: string;
  readonly node: string;
  readonly redis: string;
  /** Runnable processes over the last minute, before the run: above 0.5 or so, others were at work, too. */
  readonly loadBefore: number;
}

export interface CommitDescription {
  /** Null outside of a git checkout. */
  readonly id: string | null;
  /** Files differ from the commit, results of benchmarks aside. */
  readonly dirty: boolean;
}

const root = join(import.meta.dirname, '../..');

export function describeMachine(): MachineDescription {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGib: Math.round((totalmem() / 2 ** 30) * 10) / 10,
    kernel: release(),
    cgroup: describeCgroups(readFileSync('/proc/self/mounts', 'utf8')),
    node: process.version,
    redis: /v=(\S+)/.exec(output('redis-server', ['--version']) ?? '')?.[1] ?? 'unknown',
    loadBefore: loadavg()[0] ?? 0,
  };
}

function describeCgroups(mounts: string): string {
  const versions = new Set(cgroupMounts(mounts).map(({ version }) => version));
  if (!versions.has(1)) return 'v2';
  return versions.has(2) ? 'v1 (hybrid)' : 'v1';
}

export function describeCommit(): CommitDescription {
  const id = output('git', ['rev-parse', '--short=12', 'HEAD'])?.trim();
  if (!id) return { id: null, dirty: false };
  const changes = output('git', ['status', '--porcelain', '--', '.', ':!bench/results']) ?? '';
  return { id, dirty: changes.trim() !== '' };
}

/** @returns undefined when the program is not there or fails */
function output(program: string, args: readonly string[]): string | undefined {
  try {
    return execFileSync(program, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return undefined; // Not there: the description says so in its field.
  }
}
