/** The language runtimes of a node: for each its base image and the zygote that starts its containers. */
import { resolve } from 'node:path';
import { type ImageStore, type KeeperOptions, ZygoteKeeper } from '../../runtime/index.ts';
import { ensureNodeBaseImage } from '../../templates/node/base-image.ts';

export type RuntimeName = 'node24';

interface RuntimeDefinition {
  /** Module that a zygote of it preloads. */
  readonly agent: string;
  /** Makes the base image unless it is there. @returns its manifest digest */
  readonly ensureBase: (store: ImageStore) => Promise<string>;
}

const templates = resolve(import.meta.dirname, '../../templates');
const definitions: Record<RuntimeName, RuntimeDefinition> = {
  node24: { agent: `${templates}/node/agent/main.ts`, ensureBase: (store) => ensureNodeBaseImage(store) },
};

export interface Runtime {
  readonly name: RuntimeName;
  /** Manifest digest of the base image. */
  readonly base: string;
  readonly zygote: ZygoteKeeper;
}

export type Runtimes = ReadonlyMap<RuntimeName, Runtime>;

/** Starts all of them; resolves when each zygote takes commands. */
export async function startRuntimes(
  store: ImageStore,
  keeper: { directory: string; binds: readonly string[]; spareNetworks: number; onLost: KeeperOptions['onLost'] },
): Promise<Runtimes> {
  const { binds, spareNetworks, directory, onLost } = keeper;
  const started = Object.entries(definitions).map(async ([name, definition]) => {
    const config = { agent: definition.agent, binds, spareNetworks };
    const zygote = new ZygoteKeeper({ directory, config, ...(onLost ? { onLost } : {}) });
    const [base] = await Promise.all([definition.ensureBase(store), zygote.ready()]);
    return [name as RuntimeName, { name: name as RuntimeName, base, zygote }] as const;
  });
  return new Map(await Promise.all(started));
}
