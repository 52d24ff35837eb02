/**
 * The containers of one daemon: started through a zygote, watched, removed without a trace. The only writer of container
 * records, and of the control groups below the installation's.
 *
 * What exists of a container outside of this process: a control group, a record, a process with its namespaces. The mounts
 * are in its mount namespace and end with it. The group is made first and removed last, so the groups tell after a crash
 * what there is.
 */
import { constants } from 'node:os';
import { Cgroup } from '../cgroup/cgroup.ts';
import type { CgroupLimits } from '../cgroup/control-files.ts';
import { type CgroupHierarchy, listGroups } from '../cgroup/hierarchy.ts';
import { CgroupPool } from '../cgroup/pool.ts';
import { RuntimeError } from '../errors.ts';
import { type ChildExit, reap } from '../sys/syscalls.ts';
import type { ZygoteKeeper } from '../zygote/keeper.ts';
import type { LaunchSpec } from '../zygote/protocol.ts';
import type { Launched } from '../zygote/zygote.ts';
import { type ContainerEvent, type ContainerStatus, transition } from './status.ts';
import { type ContainerRecord, type ContainerStore, processStartTicks } from './store.ts';

export interface ContainerOptions extends Omit<LaunchSpec, 'cgroup' | 'uid' | 'gid'> {
  readonly owner: string;
  readonly image: string;
  readonly limits: CgroupLimits;
}

/** How a container ended; kept until it is removed. */
export interface ContainerEnd {
  readonly id: string;
  /** Both null when it is not known: the container was adopted, its status went to another parent. */
  readonly code: number | null;
  readonly signal: string | null;
  readonly outOfMemory: boolean;
  readonly memoryPeakBytes: number | null;
  readonly memoryLimitBytes: number;
  readonly cpuMicroseconds: number | null;
}

/** What an earlier daemon left. */
export interface Reconciled {
  /** Ids of containers that live and are this daemon's now. */
  readonly adopted: string[];
  /** Ids of containers that had ended; nothing is left of them. */
  readonly removed: string[];
  /** Control groups without a record, removed with whatever was in them. */
  readonly strayGroups: number;
}

interface Container {
  readonly id: string;
  readonly owner: string;
  readonly image: string;
  readonly uid: number;
  readonly memoryBytes: number;
  readonly createdAtMs: number;
  readonly cgroup: Cgroup;
  readonly zygote: ZygoteKeeper | undefined;
  status: ContainerStatus;
  pid: number;
  end: ContainerEnd | undefined;
  removal: Promise<ContainerEnd> | undefined;
  /** Settles when the zygote is done with it. */
  launching: Promise<void>;
  readonly onEnded: (() => void)[];
}

export interface ContainersOptions {
  readonly hierarchy: CgroupHierarchy;
  readonly store: ContainerStore;
  readonly uidBase: number;
  /** Told once for each container that ended without being removed. */
  readonly onExit: (owner: string, end: ContainerEnd) => void;
  /** Told when a container could not be recorded, for example on a full disk. */
  readonly onUnrecorded?: (id: string, error: unknown) => void;
}

const uidCount = 65_536;
const spareCgroups = 8;
const recordAfterMs = 10;
/** How often adopted containers, which are nobody's children any more, are looked at. */
const adoptedPollMs = 500;

export class Containers {
  readonly #options: ContainersOptions;
  readonly #containers = new Map<string, Container>();
  readonly #byPid = new Map<number, Container>();
  readonly #adopted = new Set<Container>();
  readonly #uids = new Set<number>();
  #nextUid = 0;
  readonly #cgroups: CgroupPool;
  readonly #onChild = () => this.#reapChildren();
  #adoptedTimer: NodeJS.Timeout | undefined;

  constructor(options: ContainersOptions) {
    this.#options = options;
    this.#cgroups = new CgroupPool(options.hierarchy, spareCgroups);
    process.on('SIGCHLD', this.#onChild);
  }

  get size(): number {
    return this.#containers.size;
  }

  /**
   * Makes the control group, forks, and resolves when the container is sealed. Nothing is left when it throws.
   * @throws RuntimeError `container_exists`, `start_failed`, `zygote_failed`
   */
  async start(options: ContainerOptions, zygote: ZygoteKeeper): Promise<Launched> {
    if (this.#containers.has(options.id))
      throw new RuntimeError('container_exists', `container "${options.id}" exists already`);
    const container = this.#create(options, zygote);
    const { owner: _, image: __, limits: ___, ...launch } = options;
    const spec: LaunchSpec = { ...launch, cgroup: container.cgroup.entry, uid: container.uid, gid: container.uid };
    try {
      const launching = zygote.start(spec, (pid) => this.#forked(container, pid));
      container.launching = launching.then(
        () => undefined,
        () => undefined, // told to the caller below
      );
      const launched = await launching;
      this.#change(container, 'sealed');
      return launched;
    } catch (error) {
      await this.remove(options.id);
      throw error;
    }
  }

  /**
   * Kills it if it lives and removes all of it. Concurrent calls share the work.
   * @throws RuntimeError `container_not_found`
   */
  remove(id: string): Promise<ContainerEnd> {
    const container = this.#find(id);
    container.removal ??= this.#remove(container);
    return container.removal;
  }

  stats(id: string) {
    const container = this.#find(id);
    return { id, memoryLimitBytes: container.memoryBytes, ...container.cgroup.stats() };
  }

  list() {
    return [...this.#containers.values()].map(({ id, owner, image, pid, createdAtMs, status }) => ({
      id,
      owner,
      image,
      pid,
      createdAtMs,
      state: status === 'starting' || status === 'running' ? status : ('exited' as const),
    }));
  }

  ownedBy(owner: string): string[] {
    return [...this.#containers.values()].filter((container) => container.owner === owner).map(({ id }) => id);
  }

  /** Whether an image is the root of a container. */
  usesImage(image: string): boolean {
    return [...this.#containers.values()].some((container) => container.image === image);
  }

  /**
   * Finds what an earlier daemon left: containers that live and have a record are adopted, all else is removed.
   * To be called once, before any start.
   */
  async reconcile(): Promise<Reconciled> {
    const adopted: string[] = [];
    const removed: string[] = [];
    const groups = new Set(listGroups(this.#options.hierarchy));
    for (const record of this.#options.store.load()) {
      if (processStartTicks(record.pid) === record.startTicks && groups.delete(record.cgroup)) {
        this.#adopt(record);
        adopted.push(record.id);
      } else {
        await new Cgroup(this.#options.hierarchy, record.cgroup).remove();
        groups.delete(record.cgroup);
        this.#options.store.remove(record.id);
        removed.push(record.id);
      }
    }
    // Made ahead, or of a container that was not recorded yet.
    const stray = [...groups].filter((name) => !this.#cgroups.owns(name));
    for (const name of stray) await new Cgroup(this.#options.hierarchy, name).remove();
    return { adopted, removed, strayGroups: stray.length };
  }

  /** Removes every container. */
  async close(): Promise<void> {
    await Promise.all([...this.#containers.keys()].map((id) => this.remove(id)));
    await this.#cgroups.close();
    process.off('SIGCHLD', this.#onChild);
    clearInterval(this.#adoptedTimer);
  }

  #create(options: ContainerOptions, zygote: ZygoteKeeper): Container {
    const uid = this.#takeUid();
    const cgroup = this.#takeCgroup(options.limits, uid);
    const container: Container = {
      id: options.id,
      owner: options.owner,
      image: options.image,
      uid,
      memoryBytes: options.limits.memoryBytes,
      createdAtMs: Date.now(),
      cgroup,
      zygote,
      status: 'starting',
      pid: 0,
      end: undefined,
      removal: undefined,
      launching: Promise.resolve(),
      onEnded: [],
    };
    this.#containers.set(container.id, container);
    return container;
  }

  #forked(container: Container, pid: number): void {
    container.pid = pid;
    this.#byPid.set(pid, container);
    // Its group tells of it until the record does; the start does not wait for the disk, nor share the processors with it.
    setTimeout(() => this.#record(container), recordAfterMs);
  }

  #record(container: Container): void {
    const startTicks = processStartTicks(container.pid);
    // Not there any more: it has ended, and the signal that says so may have come before its pid was known.
    if (startTicks === undefined) this.#reapChildren();
    else if (container.status === 'starting' || container.status === 'running')
      this.#save(recordOf(container, startTicks));
  }

  /** Without a record it serves as well as with one; a daemon after this one will remove it, and not adopt it. */
  #save(record: ContainerRecord): void {
    try {
      this.#options.store.save(record);
    } catch (error) {
      this.#options.onUnrecorded?.(record.id, error);
    }
  }

  #adopt(record: ContainerRecord): void {
    const container: Container = {
      ...record,
      cgroup: new Cgroup(this.#options.hierarchy, record.cgroup),
      zygote: undefined,
      status: 'running',
      end: undefined,
      removal: undefined,
      launching: Promise.resolve(),
      onEnded: [],
    };
    this.#uids.add(record.uid);
    this.#containers.set(record.id, container);
    this.#adopted.add(container);
    this.#adoptedTimer ??= setInterval(() => this.#lookAtAdopted(), adoptedPollMs).unref();
  }

  #lookAtAdopted(): void {
    for (const container of this.#adopted) if (processStartTicks(container.pid) === undefined) this.#ended(container);
  }

  #reapChildren(): void {
    for (const [pid, container] of this.#byPid) {
      const exit = reap(pid);
      if (exit !== 'running') this.#ended(container, exit === 'none' ? undefined : exit);
    }
  }

  #ended(container: Container, exit?: ChildExit): void {
    this.#byPid.delete(container.pid);
    this.#adopted.delete(container);
    container.end = this.#describeEnd(container, exit);
    const byItself = container.status !== 'removing';
    this.#change(container, 'ended');
    const { code, signal } = container.end;
    container.zygote?.childExited(container.id, signal ?? `exit status ${code}`);
    for (const wake of container.onEnded.splice(0)) wake();
    if (byItself) this.#options.onExit(container.owner, container.end);
  }

  #describeEnd(container: Container, exit?: ChildExit): ContainerEnd {
    const stats = container.cgroup.stats();
    return {
      id: container.id,
      code: exit?.code ?? null,
      signal: exit?.signal ? signalName(exit.signal) : null,
      outOfMemory: stats.oomKills > 0,
      memoryPeakBytes: stats.memoryPeakBytes,
      memoryLimitBytes: container.memoryBytes,
      cpuMicroseconds: stats.cpuMicroseconds,
    };
  }

  async #remove(container: Container): Promise<ContainerEnd> {
    this.#change(container, 'remove');
    // Before the zygote has forked there is nothing to kill, and after it nothing may be forgotten.
    if (container.pid === 0) await container.launching;
    if (container.end === undefined && container.pid !== 0) {
      container.cgroup.kill();
      // The group may be empty while the process is still starting: the pid is certain.
      if (this.#byPid.has(container.pid) || this.#adopted.has(container)) await this.#killed(container);
    }
    const end = container.end ?? this.#describeEnd(container);
    await container.cgroup.remove();
    this.#options.store.remove(container.id);
    this.#change(container, 'removed');
    this.#containers.delete(container.id);
    this.#uids.delete(container.uid);
    return end;
  }

  #killed(container: Container): Promise<void> {
    return new Promise((resolve) => {
      container.onEnded.push(resolve);
      try {
        process.kill(container.pid, 'SIGKILL');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
        this.#lookAtAdopted();
      }
      this.#reapChildren();
    });
  }

  #change(container: Container, event: ContainerEvent): void {
    container.status = transition(container.status, event);
  }

  #find(id: string): Container {
    const container = this.#containers.get(id);
    if (container === undefined) throw new RuntimeError('container_not_found', `container "${id}" does not exist`);
    return container;
  }

  #takeCgroup(limits: CgroupLimits, uid: number): Cgroup {
    try {
      return this.#cgroups.take(limits);
    } catch (error) {
      this.#uids.delete(uid);
      throw error;
    }
  }

  /** Each container has a uid that no other living one has. */
  #takeUid(): number {
    for (let tries = 0; tries < uidCount; tries++) {
      const uid = this.#options.uidBase + (this.#nextUid++ % uidCount);
      if (this.#uids.has(uid)) continue;
      this.#uids.add(uid);
      return uid;
    }
    throw new RuntimeError(
      'start_failed',
      `all ${uidCount} uids from ${this.#options.uidBase} are taken by containers`,
    );
  }
}

function recordOf(container: Container, startTicks: number): ContainerRecord {
  const { id, owner, image, pid, uid, memoryBytes, createdAtMs } = container;
  return { format: 1, id, owner, image, cgroup: container.cgroup.name, pid, startTicks, uid, memoryBytes, createdAtMs };
}

function signalName(number: number): string {
  const found = Object.entries(constants.signals).find(([, value]) => value === number);
  return found?.[0] ?? `signal ${number}`;
}
