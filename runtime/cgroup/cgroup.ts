/**
 * One control group, on v1 or v2 behind the same interface. The file operations are synchronous: the kernel answers them
 * from memory. Nobody else writes below the installation's parent directory.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { rmdir } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { RuntimeError } from '../errors.ts';
import {
  type CgroupLimits,
  type CgroupStats,
  type Controller,
  type ControlWrite,
  freezeWrite,
  isFrozen,
  limitWrites,
  readStats,
} from './control-files.ts';
import type { CgroupHierarchy } from './hierarchy.ts';

/** How the first process gets in without the global lock that writing a foreign pid to cgroup.procs takes (6–10 ms). */
export type CgroupEntry =
  /** v2: it is born there, by clone3(CLONE_INTO_CGROUP). */
  | { readonly version: 2; readonly directory: string }
  /** v1: it writes `0` to its own `tasks` files. */
  | { readonly version: 1; readonly tasks: readonly string[] };

export class Cgroup {
  readonly name: string;
  readonly #hierarchy: CgroupHierarchy;

  constructor(hierarchy: CgroupHierarchy, name: string) {
    this.#hierarchy = hierarchy;
    this.name = name;
  }

  /** @throws RuntimeError `cgroup_exists`; nothing of it is left when it throws anything */
  create(): void {
    const made: string[] = [];
    try {
      for (const directory of this.#directories()) {
        mkdirSync(directory);
        made.push(directory);
      }
    } catch (cause) {
      for (const directory of made) void rmdir(directory).catch(() => undefined);
      if ((cause as NodeJS.ErrnoException).code === 'EEXIST')
        throw new RuntimeError('cgroup_exists', `control group "${this.name}" exists already`, { cause });
      throw cause;
    }
  }

  limit(limits: CgroupLimits): void {
    for (const write of limitWrites(this.#hierarchy.version, limits)) this.#write(write);
  }

  get entry(): CgroupEntry {
    const [first] = this.#directories() as [string, ...string[]];
    if (this.#hierarchy.version === 2) return { version: 2, directory: first };
    return { version: 1, tasks: this.#directories().map((directory) => `${directory}/tasks`) };
  }

  stats(): CgroupStats {
    return readStats(this.#hierarchy.version, (controller, file) => this.#read(controller, file));
  }

  /** Pids of all processes in it, as this process sees them. */
  pids(): number[] {
    const text = this.#read('pids', 'cgroup.procs') ?? '';
    return text.split('\n').filter(Boolean).map(Number);
  }

  /** Stops every process where it stands; resolves when the last one stands. */
  async freeze(signal?: AbortSignal): Promise<void> {
    this.#write(freezeWrite(this.#hierarchy.version, true));
    // v1 has no notification; v2's comes by inotify and is slower than a second look.
    while (!isFrozen(this.#hierarchy.version, (controller, file) => this.#read(controller, file)))
      await delay(1, undefined, signal ? { signal } : {});
  }

  thaw(): void {
    this.#write(freezeWrite(this.#hierarchy.version, false));
  }

  /** Sends SIGKILL to every process in it. They are gone when `pids()` is empty. */
  kill(): void {
    if (this.#hierarchy.version === 2 && this.#writeIfThere('memory', 'cgroup.kill', '1')) return;
    for (const pid of this.pids()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    }
    // A frozen process of v1 does not see its signal before it is thawed.
    if (this.#hierarchy.version === 1) this.#writeIfThere('freezer', 'freezer.state', 'THAWED');
  }

  /**
   * Kills what is in it and removes it, however far it was made.
   * @throws RuntimeError `cgroup_busy` when processes outlive SIGKILL for 5 s
   */
  async remove(): Promise<void> {
    const giveUpAt = Date.now() + 5000;
    for (const directory of this.#directories()) {
      while (!(await removeDirectory(directory))) {
        if (Date.now() > giveUpAt)
          throw new RuntimeError('cgroup_busy', `control group "${this.name}" still has processes`);
        this.kill();
        await delay(2);
      }
    }
  }

  get exists(): boolean {
    return this.#directories().some((directory) => existsSync(directory));
  }

  #directories(): string[] {
    return this.#hierarchy.directories.map((parent) => `${parent}/${this.name}`);
  }

  #path(controller: Controller, file: string): string {
    return `${this.#hierarchy.parents[controller]}/${this.name}/${file}`;
  }

  #read(controller: Controller, file: string): string | undefined {
    try {
      return readFileSync(this.#path(controller, file), 'utf8');
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'ENOENT' || code === 'ENODEV' || code === 'EOPNOTSUPP') return undefined;
      throw error;
    }
  }

  #write(write: ControlWrite): void {
    if (write.optional) this.#writeIfThere(write.controller, write.file, write.value);
    else writeFileSync(this.#path(write.controller, write.file), write.value);
  }

  #writeIfThere(controller: Controller, file: string, value: string): boolean {
    try {
      // Without O_CREAT: a control file that the kernel does not have is ENOENT, not EACCES.
      writeFileSync(this.#path(controller, file), value, { flag: 'r+' });
      return true;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'ENOENT' || code === 'EOPNOTSUPP' || code === 'ENODEV') return false;
      throw error;
    }
  }
}

/** @returns false when the group still has processes */
async function removeDirectory(directory: string): Promise<boolean> {
  try {
    await rmdir(directory);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') return true;
    if (code === 'EBUSY') return false;
    throw error;
  }
}
