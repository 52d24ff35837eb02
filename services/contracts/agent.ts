/**
 * What a worker tells the agent in an instance at its start, and what the agent says first. Types only: the agent loads
 * nothing it does not need.
 */

/** Opaque to the daemon and the runtime, which hand it from the worker to the agent. */
export interface AgentSettings {
  function: string;
  version: number;
  /** Entry module below /var/task, for example `index.ts`. */
  entry: string;
  /** `.ts` files hold plain JavaScript already. */
  stripped: boolean;
  memoryBytes: number;
  concurrency: number;
  timeoutMs: number;
}

/** `hello` of each connection that an instance opens; sent by the runtime before any user code is there. */
export interface InstanceHello {
  /** Random, good for one instance. */
  token: string;
  /** After the hello, `control` speaks frames; the two others carry raw output. */
  channel: 'control' | 'stdout' | 'stderr';
}

/** Payload of `ready`. */
export interface InstanceReady {
  style: 'fetch' | 'handler';
  /** Loading the entry module. */
  loadMs: number;
}

/** Log frame payload: one byte (1 stdout, 2 stderr), then text. */
export const logStreams = { stdout: 1, stderr: 2 } as const;
