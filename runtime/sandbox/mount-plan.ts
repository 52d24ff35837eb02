/**
 * What a container sees as its file system, as a list of mounts in order. Pure: the list can be printed and asserted.
 * `rootfs.ts` walks it. Paths are those of the zygote's own small mount namespace (`zygote/stage.ts`).
 */
import { mountFlags as m } from '../sys/constants.ts';

export interface MountStep {
  readonly source: string;
  readonly target: string;
  /** Null for a bind. */
  readonly type: string | null;
  readonly flags: number;
  readonly data: string | null;
}

export type PlanStep = ({ readonly do: 'mount' } & MountStep) | { readonly do: 'mkdir'; readonly path: string };

export interface RootfsSpec {
  /** Read-only layer directories, lowest first. */
  readonly layers: readonly string[];
  /** Size limits of /tmp and of what is written elsewhere; both lie in memory and count against the container's. */
  readonly tmpBytes: number;
  readonly scratchBytes: number;
}

/** Fixed places in the zygote's mount namespace. Each container has a copy of that namespace, so all use the same. */
export interface StagePaths {
  /** Where a container's root is put together. */
  readonly rootfs: string;
  /** Where its upper directory lies. */
  readonly scratch: string;
  /** A read-only /dev, made once. */
  readonly dev: string;
  /** An empty read-only directory and a null device, to put over what is hidden. */
  readonly emptyDirectory: string;
  readonly nullDevice: string;
  /** What to hide, as far as this kernel has it: paths below /proc or /sys. */
  readonly hidden: readonly { readonly path: string; readonly directory: boolean }[];
}

/** Hidden from every container: what tells about the machine or its keys. Docker's list. */
export const hiddenPaths = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
] as const;

const noSurprises = m.NOSUID | m.NODEV;
const dataOnly = noSurprises | m.NOEXEC;

export function planRootfs(spec: RootfsSpec, stage: StagePaths): PlanStep[] {
  const { rootfs, scratch } = stage;
  const upper = `${scratch}/upper`;
  const work = `${scratch}/work`;
  // overlayfs lists its lower directories from the top down.
  const lower = [...spec.layers].reverse().join(':');
  return [
    mount('tmpfs', scratch, 'tmpfs', noSurprises, `size=${spec.scratchBytes},mode=755`),
    { do: 'mkdir', path: upper },
    { do: 'mkdir', path: work },
    // POLICY: the upper directory lies in memory, so that nothing of a function instance is left on disk, whatever ends it.
    mount('overlay', rootfs, 'overlay', noSurprises, `lowerdir=${lower},upperdir=${upper},workdir=${work},volatile`),
    // POLICY: all of /proc is read-only. That covers /proc/sys, sysrq-trigger, irq, bus and fs in one mount.
    mount('proc', `${rootfs}/proc`, 'proc', dataOnly | m.RDONLY, null),
    mount('sysfs', `${rootfs}/sys`, 'sysfs', dataOnly | m.RDONLY, null),
    bind(stage.dev, `${rootfs}/dev`),
    mount('tmpfs', `${rootfs}/tmp`, 'tmpfs', noSurprises, `size=${spec.tmpBytes},mode=1777`),
    ...stage.hidden.map(({ path, directory }) =>
      bind(directory ? stage.emptyDirectory : stage.nullDevice, `${rootfs}${path}`),
    ),
  ];
}

function mount(source: string, target: string, type: string, flags: number, data: string | null): PlanStep {
  return { do: 'mount', source, target, type, flags, data };
}

function bind(source: string, target: string): PlanStep {
  return { do: 'mount', source, target, type: null, flags: m.BIND, data: null };
}
