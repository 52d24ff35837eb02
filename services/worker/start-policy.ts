/** Whether one more instance of a version may start now. Pure: counts in, decision out. */

/** Longest that an invocation waits for a place when no start is under way for it. */
export const waitBoundMs = 10_000;
/** Longest from a start's beginning to `ready`. */
export const startBoundMs = 10_000;
/** How long a failed start makes its version careful: one start at a time. */
export const failureMemoryMs = 1_000;

export interface VersionCounts {
  waiters: number;
  /** Starts in flight. */
  starting: number;
  /** Instances in any state before gone, with the starting ones. */
  instances: number;
  concurrency: number;
  maxInstances: number;
  /** A start failed within `failureMemoryMs` and none has succeeded since. */
  failedLately: boolean;
}

export interface NodeCounts {
  starting: number;
  instances: number;
  maxStarts: number;
  maxInstances: number;
  /** Idle instances of any version. */
  idle: number;
}

/** `covered`: enough starts are in flight. `careful`: the last one failed. The others name the limit that holds it back. */
export type StartDecision = 'start' | 'evict' | 'covered' | 'careful' | 'function_limit' | 'node_starts' | 'node_limit';

/** Decides on a single start; ask again after each. `evict`: end the node's least recently used idle instance, then start. */
export function decideStart(version: VersionCounts, node: NodeCounts): StartDecision {
  if (version.waiters <= version.starting * version.concurrency) return 'covered';
  if (version.failedLately && version.starting > 0) return 'careful';
  if (version.instances >= version.maxInstances) return 'function_limit';
  if (node.starting >= node.maxStarts) return 'node_starts';
  if (node.instances < node.maxInstances) return 'start';
  return node.idle > 0 ? 'evict' : 'node_limit';
}
