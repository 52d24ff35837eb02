/** The privileged door: all that the daemon uses of the runtime. It leads to system calls; `oci.ts` does not. */
import type { LayerHooks } from './image/layer-store.ts';
import { mknod, setXattr, syncFileSystem } from './sys/syscalls.ts';

export { type CgroupHierarchy, openHierarchy } from './cgroup/hierarchy.ts';
export { type ContainerEnd, type ContainerOptions, Containers } from './container/containers.ts';
export { ContainerStore } from './container/store.ts';
export { RuntimeError, type RuntimeErrorCode } from './errors.ts';
export { ImageStore, type ResolvedImage } from './image/image-store.ts';
export { type KeeperOptions, ZygoteKeeper } from './zygote/keeper.ts';

const S_IFCHR = 0o020000;

/** How layers get what only overlayfs understands. */
export const layerHooks: LayerHooks = {
  mknodWhiteout: (path) => mknod(path, S_IFCHR, 0, 0),
  setOpaque: (path) => setXattr(path, 'trusted.overlay.opaque', Buffer.from('y')),
  syncFileSystem,
};
