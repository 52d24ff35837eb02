/** The container that serves a version, as the daemon is asked for it. Pure. */
import type { AgentSettings } from '../contracts/agent.ts';
import type { ContainerRequest } from '../contracts/daemon-api.ts';
import type { VersionRecord } from '../contracts/function.ts';
import { parseBytes } from '../contracts/quantity.ts';

/** Processes and threads of one instance: enough for libuv, V8's helpers and some children, too few to fork-bomb a machine. */
const maxPids = 64;
const maxOpenFiles = 1024;

export interface ContainerPlace {
  readonly id: string;
  readonly owner: string;
  readonly socket: string;
  readonly token: string;
}

export function containerRequest(
  record: VersionRecord,
  { id, owner, socket, token }: ContainerPlace,
): ContainerRequest {
  const { config } = record;
  const memoryBytes = bytesOf(config.memory);
  const agent: AgentSettings = {
    function: record.function,
    version: record.version,
    entry: record.entry,
    stripped: record.stripped,
    memoryBytes,
    concurrency: config.concurrency,
    timeoutMs: config.timeout * 1000,
  };
  return {
    id,
    owner,
    image: record.image,
    runtime: config.runtime,
    network: record.function,
    hostname: record.function,
    env: { ...config.env, FN_NAME: record.function, FN_VERSION: String(record.version) },
    limits: {
      memoryBytes,
      cpu: config.cpu,
      pids: maxPids,
      tmpBytes: bytesOf(config.tmp),
      openFiles: maxOpenFiles,
    },
    connect: { socket, token },
    agent: { ...agent },
  };
}

/** The schema of the record has checked the text. */
function bytesOf(text: string): number {
  const parsed = parseBytes(text);
  if ('reason' in parsed) throw new Error(parsed.reason);
  return parsed.bytes;
}
