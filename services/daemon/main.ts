/** The daemon process: the only one with privilege. Wires the runtime to the API on its unix socket. */
import { chmodSync, chownSync, mkdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { ContainerStore, Containers, ImageStore, layerHooks, openHierarchy } from '../../runtime/index.ts';
import { type RunningService, runService, type ServiceContext } from '../platform/lifecycle.ts';
import { findUser } from '../platform/user.ts';
import { createListener } from './app.ts';
import { Images } from './images.ts';
import { type Runtimes, startRuntimes } from './runtimes.ts';
import { Sessions } from './sessions.ts';

/** Network namespaces of functions that do not exist yet. */
const spareNetworks = 8;

/** A layer that was uploaded and not used yet may be part of a deploy under way. */
const unreferencedKeptMs = 60 * 60 * 1000;

async function start({ config, log }: ServiceContext): Promise<RunningService> {
  mkdirSync(config.run, { recursive: true, mode: 0o750 });
  mkdirSync(config.home, { recursive: true, mode: 0o751 });
  const hierarchy = openHierarchy(`stoke-${config.installation}`);
  const containers: Containers = new Containers({
    hierarchy,
    store: new ContainerStore(`${config.run}/containers`),
    uidBase: config.uidBase,
    onExit: (owner, exit) => sessions.exited(owner, exit),
    onUnrecorded: (id, error) => log.warn({ err: error, id }, 'a container could not be recorded'),
  });
  const sessions = new Sessions(containers, log.child({ part: 'sessions' }));
  const reconciled = await containers.reconcile();
  if (reconciled.removed.length + reconciled.adopted.length + reconciled.strayGroups > 0)
    log.warn(reconciled, 'found containers of an earlier daemon');

  // What zygotes of a killed daemon left: they are gone, their folders are not.
  rmSync(`${config.run}/zygotes`, { recursive: true, force: true });
  const store = await ImageStore.open(`${config.home}/images`, layerHooks);
  let runtimes: Runtimes = new Map();
  const images = new Images(store, () => runtimes, containers);
  runtimes = await startRuntimes(store, {
    directory: `${config.run}/zygotes`,
    binds: [`${config.home}/images`, config.run, ...hierarchy.directories],
    spareNetworks,
    onLost: (reason) => log.error({ reason }, 'zygote ended; starting another'),
  });

  store.removeUnreferenced(unreferencedKeptMs).catch((error: unknown) => {
    log.warn({ err: error }, 'removing layers that no image uses failed; the next start tries again');
  });

  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  const health = () => ({
    pid: process.pid,
    version,
    cgroupVersion: hierarchy.version,
    zygotes: Object.fromEntries([...runtimes].map(([name, { zygote }]) => [name, zygote.state])),
    containers: containers.size,
    reconciled: { adopted: reconciled.adopted.length, removed: reconciled.removed.length },
  });
  const dependencies = { containers, store, images, sessions, runtimes: () => runtimes, health, log };
  // No bound on how long a request may take to arrive: a session's never ends.
  const server = createServer({ requestTimeout: 0 }, createListener(dependencies));
  await listen(server, config.sockets.daemon, findUser(config.user).gid);
  return {
    ready: { socket: config.sockets.daemon, cgroupVersion: hierarchy.version },
    close: async () => {
      sessions.close();
      server.close();
      server.closeAllConnections();
      await containers.close();
      await Promise.all([...runtimes.values()].map(({ zygote }) => zygote.close()));
      await store.close();
      for (const directory of hierarchy.directories) rmdirSync(directory);
      for (const name of ['containers', 'zygotes']) rmSync(`${config.run}/${name}`, { recursive: true, force: true });
      for (const folder of ['containers', 'zygotes']) removeEmpty(`${config.run}/${folder}`);
    },
  };
}

/** What is still in it is the next daemon's to reconcile. */
function removeEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTEMPTY') throw error;
  }
}

/** Binds the socket for root and the group; what a killed daemon left in its place goes. */
async function listen(server: Server, path: string, gid: number): Promise<void> {
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  chownSync(path, 0, gid);
  chmodSync(path, 0o660);
}

await runService('daemon', start);
