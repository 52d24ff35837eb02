/**
 * What a forked child does until it is a container: synchronous from the first line to the last, because the event loop,
 * the file system and the identity it came with are not its own yet. The order of the steps is the subject of this file.
 */
import { writeFileSync } from 'node:fs';
import { takeIdentity, type Walls } from '../sandbox/identity.ts';
import { planRootfs, type StagePaths } from '../sandbox/mount-plan.ts';
import { buildRootfs, enterRootfs } from '../sandbox/rootfs.ts';
import * as k from '../sys/constants.ts';
import { libc } from '../sys/libc.ts';
import {
  closeRange,
  connectUnix,
  dup,
  execve,
  exitNow,
  open,
  setHostname,
  setns,
  unshare,
  writeAll,
} from '../sys/syscalls.ts';
import { type Agent, encodeMessage, type FromZygote, type LaunchSpec } from './protocol.ts';
import { type Revival, reviveLoop } from './revive.ts';

/** What the child finds ready in the memory it was forked with. */
export interface Inheritance {
  readonly stage: StagePaths;
  readonly walls: Walls;
  readonly revival: Revival;
  readonly agent: Agent;
  /** Descriptors of Node itself (its loop's), to be kept when all others are closed. Ascending. */
  readonly nodeFds: readonly number[];
  /** The pipe to the daemon. */
  readonly reportFd: number;
  readonly networkFd: number;
}

/** Exit status of a child that could not become a container; the reason went to the daemon. */
const setupFailed = 70;
/** Exit status when the agent could not begin to serve. */
const agentFailed = 71;

/** Becomes the container. Returns only for an agent that serves, to the event loop. */
export function becomeContainer(spec: LaunchSpec, inherited: Inheritance): void {
  const clock = new StepClock();
  try {
    reviveLoop();
    clock.lap('loop');
    joinCgroup(spec);
    clock.lap('cgroup');
    const controlFd = connectAll(spec);
    clock.lap('connect');
    // Not before the cgroup is joined: the namespace's root is the group the process is in now.
    unshare(k.clone.NEWCGROUP);
    setns(inherited.networkFd, k.clone.NEWNET);
    clock.lap('namespaces');
    buildRootfs(planRootfs(spec.rootfs, inherited.stage));
    enterRootfs(inherited.stage.rootfs);
    setHostname(spec.hostname);
    clock.lap('mounts');
    const kept = keepOnly(inherited, controlFd);
    takeIdentity(spec, inherited.walls);
    clock.lap('identity');
    if (spec.payload.kind === 'exec') exec(spec, kept.reportFd, spec.payload, clock);
    else serve(spec, inherited, kept, spec.payload.settings, clock);
  } catch (error) {
    report(inherited.reportFd, {
      type: 'failed',
      id: spec.id,
      step: clock.current,
      message: error instanceof Error ? error.message : String(error),
    });
    exitNow(setupFailed);
  }
}

function joinCgroup(spec: LaunchSpec): void {
  if (spec.cgroup.version === 2) return; // born in it
  // `0` means the writer: moving oneself does not wait for the lock that moving another process does.
  for (const tasks of spec.cgroup.tasks) writeFileSync(tasks, '0', { flag: 'r+' });
}

/** @returns the control connection's fd, or -1 */
function connectAll(spec: LaunchSpec): number {
  let controlFd = -1;
  for (const connection of spec.connections) {
    const fd = connectUnix(connection.socket);
    writeAll(fd, Buffer.from(connection.greeting, 'base64'));
    if (connection.as === 'control') controlFd = fd;
    else dup(fd, connection.as);
  }
  return controlFd;
}

interface KeptFds {
  readonly controlFd: number;
  readonly reportFd: number;
}

/**
 * Closes every descriptor but Node's own, the two of `KeptFds` and 0 to 2, and gives stdin nothing to read. What stays:
 * 0–2, the loop's, one connection to the worker; the report pipe only until the report is written.
 */
function keepOnly(inherited: Inheritance, controlFd: number): KeptFds {
  const nothing = open('/dev/null', k.openFlags.RDONLY);
  // The pipe from the daemon was fd 0 and the one to it fd 1, before stdout was connected: see main.ts.
  dup(nothing, 0);
  const keep = [...inherited.nodeFds, inherited.reportFd, controlFd].filter((fd) => fd > 2).sort((a, b) => a - b);
  let next = 3;
  for (const fd of keep) {
    if (fd > next) closeRange(next, fd - 1);
    next = fd + 1;
  }
  closeRange(next, 0x7fffffff);
  return { controlFd, reportFd: inherited.reportFd };
}

function serve(
  spec: LaunchSpec,
  inherited: Inheritance,
  fds: KeptFds,
  settings: Readonly<Record<string, unknown>>,
  clock: StepClock,
): void {
  inherited.revival.complete(`stoke: ${spec.id}`, spec.environment, spec.workingDirectory);
  clock.lap('revive');
  report(fds.reportFd, { type: 'sealed', id: spec.id, phases: clock.phases });
  closeRange(fds.reportFd, fds.reportFd);
  try {
    inherited.agent.serve({ controlFd: fds.controlFd, settings });
  } catch (error) {
    // The daemon has its report already; whoever reads the container's output gets this one.
    writeAll(2, Buffer.from(`the agent failed: ${error instanceof Error ? error.stack : String(error)}\n`));
    exitNow(agentFailed);
  }
}

function exec(
  spec: LaunchSpec,
  reportFd: number,
  program: { path: string; args: readonly string[] },
  clock: StepClock,
) {
  // Ignored signals stay ignored across execve, and Node ignores these two.
  for (const signal of [k.signals.SIGPIPE, k.signals.SIGXFSZ]) libc.signal(signal, k.SIG_DFL);
  process.chdir(spec.workingDirectory);
  process.umask(0o022);
  closeRange(3, 0x7fffffff, k.CLOSE_RANGE_CLOEXEC);
  // Reported before the fact: a failing execve reports again, and the daemon takes the later word.
  report(reportFd, { type: 'sealed', id: spec.id, phases: clock.phases });
  execve(program.path, program.args, spec.environment);
}

function report(fd: number, message: FromZygote): void {
  writeAll(fd, encodeMessage(message));
}

/** Which step is under way, and how long the earlier ones took. */
class StepClock {
  readonly phases: Record<string, number> = {};
  current = 'loop';
  #since = process.hrtime.bigint();

  lap(step: string): void {
    const now = process.hrtime.bigint();
    this.phases[step] = Number(now - this.#since) / 1e6;
    this.#since = now;
    this.current = `after ${step}`;
  }
}
