/**
 * The zygote process: loads the agent, leaves the host's mounts, then reads commands and forks until the daemon is gone.
 * Started by `launch.ts`, under its filter. Protocol and sequence: `protocol.ts`.
 *
 * Its life after start-up is one synchronous loop. It must own no live handle when it forks (a socket of its event loop
 * would be armed in the child too), no thread of libuv's pool (a child would wait for it for ever), and no randomness.
 */
import { existsSync, readdirSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import { NamespacePool } from '../network/namespace.ts';
import { dropBoundingSet, lastCapability } from '../sys/capabilities.ts';
import * as k from '../sys/constants.ts';
import { compilePolicy } from '../sys/seccomp.ts';
import { functionPolicy } from '../sys/seccomp-policy.ts';
import {
  architecture,
  clone3,
  close,
  dup,
  exitNow,
  open,
  pendingBytes,
  setCloseOnExec,
  writeAll,
} from '../sys/syscalls.ts';
import { becomeContainer, type Inheritance } from './child.ts';
import {
  type Agent,
  encodeMessage,
  type FromZygote,
  type LaunchSpec,
  MessageReader,
  type ToZygote,
  type ZygoteConfig,
} from './protocol.ts';
import { prepareRevival } from './revive.ts';
import { enterStage } from './stage.ts';

const commandFd = 0;
/** The pipe to the daemon is moved here, because a container's stdout takes fd 1. */
const reportFd = 3 + 97;
const namespaceFlags = k.clone.NEWNS | k.clone.NEWUTS | k.clone.NEWIPC | k.clone.NEWPID;

const config = JSON.parse(process.argv[2] as string) as ZygoteConfig;
const agent = createRequire(import.meta.url)(config.agent) as Agent;
await agent.warmUp();
const inheritance = prepare();
const networks = new NamespacePool(config.spareNetworks);
run();

function prepare(): Omit<Inheritance, 'networkFd'> {
  const walls = { seccomp: compilePolicy(functionPolicy, architecture) };
  const nodeFds = openFds();
  dup(1, reportFd);
  setCloseOnExec(reportFd, true);
  const stage = enterStage(config.stage, config.binds);
  // What is there now is compiled; of a function's code only what it runs shall be.
  setFlagsFromString('--lazy');
  const revival = prepareRevival();
  collectGarbage();
  collectGarbage();
  // Not for functions: Node does not have it by default. V8 does not let it be deleted.
  (globalThis as { gc?: unknown }).gc = undefined;
  // Of no use to a child, which drops its capabilities with its user. The zygote keeps its own.
  dropBoundingSet(lastCapability());
  return { stage, walls, revival, agent, nodeFds, reportFd };
}

/**
 * The thorough kind, which also gives the young generation's memory back: pages that a child would copy for nothing.
 * To be called twice: what the first one frees lets the second one move more together, and more pages stay shared.
 */
function collectGarbage(): void {
  const { gc } = globalThis as { gc?: (options: { type: string; execution: string; flavor: string }) => void };
  gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}

/** Every descriptor above 2, ascending. */
function openFds(): number[] {
  const listed = readdirSync('/proc/self/fd').map(Number);
  // The listing's own descriptor is among them, and closed by now.
  return listed.filter((fd) => fd > 2 && existsSync(`/proc/self/fd/${fd}`)).sort((a, b) => a - b);
}

/** Returns in a child only: to the event loop of the container that it has become. */
function run(): void {
  const reader = new MessageReader<ToZygote>();
  const buffer = Buffer.allocUnsafe(64 * 1024);
  tell({ type: 'ready' });
  for (;;) {
    // Spares are made while nobody waits.
    while (networks.wantsSpare && pendingBytes(commandFd) === 0) networks.makeSpare();
    const length = readSync(commandFd, buffer);
    if (length === 0) exitNow(0);
    for (const message of reader.push(buffer.subarray(0, length))) {
      if (message.type === 'network') networks.take(message.key);
      else if (message.type === 'drop-network') networks.drop(message.key);
      else if (start(message.spec) === 'child') return;
    }
  }
}

function start(spec: LaunchSpec): 'zygote' | 'child' {
  try {
    const networkFd = networks.take(spec.network);
    const pid = fork(spec);
    if (pid === 0) {
      becomeContainer(spec, { ...inheritance, networkFd });
      return 'child';
    }
    tell({ type: 'forked', id: spec.id, pid });
  } catch (error) {
    tell({ type: 'failed', id: spec.id, step: 'fork', message: (error as Error).message });
  }
  return 'zygote';
}

function fork(spec: LaunchSpec): number {
  const flags = namespaceFlags | k.clone.PARENT;
  if (spec.cgroup.version === 1) return clone3({ flags });
  const cgroupFd = open(spec.cgroup.directory, k.openFlags.RDONLY | k.openFlags.DIRECTORY);
  try {
    return clone3({ flags, cgroupFd });
  } finally {
    // In the child this closes its copy.
    close(cgroupFd);
  }
}

function tell(message: FromZygote): void {
  writeAll(reportFd, encodeMessage(message));
}
