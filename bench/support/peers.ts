/**
 * Other ways to start the same Node binary: as a plain process, and in a container of each engine that works on this
 * machine, over the root file system of the platform's own base image and without a network.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cgroupMounts, findProgram } from '../../services/platform/machine.mjs';
import type { Installation } from './installation.ts';
import { SpawnTimer } from './spawn-timer.ts';
import type { Timed } from './spawn-timer-process.ts';

export interface Peer {
  readonly name: string;
  /** `run` differs from one run to the next. */
  command(run: number): readonly string[];
  /** Once, before and after all runs. */
  readonly prepare?: readonly string[];
  readonly cleanUp?: readonly string[];
}

export interface Peers extends AsyncDisposable {
  /** The first is the plain process. */
  readonly runnable: readonly Peer[];
  /** What was done so that they run, and why each of the others does not. */
  readonly notes: readonly string[];
  /** @throws Error when the peer, which has run before, fails */
  time(peer: Peer, run: number): Promise<number>;
}

const node = ['/usr/local/bin/node', '-e', '0'] as const;

/** Prepares all and runs each once; one that fails is not measured. */
export async function openPeers(installation: Installation): Promise<Peers> {
  const bundle = join(installation.scratch, 'bundle');
  const layer = baseLayer(installation.home);
  const mounts = writeBundle(bundle, layer);
  const unified = hybridMount();
  // In the timer's own mount namespace: the machine's mounts stay as they are.
  const timer = new SpawnTimer(unified === undefined ? [mounts] : [mounts, `umount ${unified}`]);
  const plain: Peer = { name: 'node -e 0', command: () => [process.execPath, '-e', '0'] };
  const runnable = [plain];
  const notes: string[] = [];
  const candidates = containerPeers(bundle, layer);
  for (const peer of candidates) {
    const obstacle = await findObstacle(peer, timer);
    if (obstacle === undefined) runnable.push(peer);
    else notes.push(`${peer.name}: ${obstacle}`);
  }
  if (unified !== undefined && runnable.some(({ name }) => name.startsWith('crun'))) {
    notes.push(`crun refuses a hybrid cgroup mount: it was run in a mount namespace without ${unified}`);
  }
  return {
    runnable,
    notes,
    time: async (peer, run) => checked(peer, await timer.run(peer.command(run))),
    [Symbol.asyncDispose]: async () => {
      for (const { cleanUp } of runnable) if (cleanUp) await timer.run(cleanUp);
      await timer[Symbol.asyncDispose]();
    },
  };
}

function containerPeers(bundle: string, layer: string): Peer[] {
  const rootfs = join(bundle, 'rootfs');
  const image = `stoke-bench:${process.pid}`;
  const ociRun = (program: string): Peer => ({
    name: `${program} run node -e 0`,
    command: (run) => [program, 'run', '--bundle', bundle, `stoke-bench-${process.pid}-${run}`],
  });
  const options = ['--rm', '--network', 'none', '--read-only'];
  return [
    ociRun('crun'),
    ociRun('runc'),
    { name: 'podman run node -e 0', command: () => ['podman', 'run', ...options, '--rootfs', rootfs, ...node] },
    {
      name: 'docker run node -e 0',
      prepare: ['sh', '-c', `tar -C '${layer}' -c . | docker import - ${image}`],
      command: () => ['docker', 'run', ...options, image, ...node],
      cleanUp: ['docker', 'rmi', image],
    },
  ];
}

/** @returns why it cannot be measured here */
async function findObstacle(peer: Peer, timer: SpawnTimer): Promise<string | undefined> {
  const program = peer.command(0)[0] as string;
  if (!findProgram(program)) return 'not installed';
  for (const command of [...(peer.prepare ? [peer.prepare] : []), peer.command(0)]) {
    const { status, lastWords } = await timer.run(command);
    if (status !== 0) return `not runnable here: ${lastWords.split('\n').at(-1) || `exit status ${status}`}`;
  }
  return undefined;
}

function checked(peer: Peer, { ms, status, lastWords }: Timed): number {
  if (status === 0) return ms;
  throw new Error(`${peer.name} ended with status ${status}: ${lastWords}`);
}

/** Directory of the base image's only layer; before the first deploy there is no other. */
function baseLayer(home: string): string {
  const layers = join(home, 'images/layers');
  const [digest, ...others] = readdirSync(layers);
  if (digest === undefined || others.length > 0) throw new Error(`want the base image's layer alone in ${layers}`);
  return join(layers, digest, 'root');
}

/**
 * An OCI bundle: what `crun spec` writes, with Node as its process and a read-only root.
 * @returns the command that mounts its root; engines make mount points in it, which must not reach the layer
 */
function writeBundle(bundle: string, layer: string): string {
  for (const name of ['rootfs', 'upper', 'work']) mkdirSync(join(bundle, name), { recursive: true });
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(bundleConfig));
  const options = `lowerdir=${layer},upperdir=${bundle}/upper,workdir=${bundle}/work`;
  return `mount -t overlay overlay -o ${options} ${bundle}/rootfs`;
}

const nosuid = ['nosuid', 'noexec', 'nodev'];
const capabilities = ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE'];
const bundleConfig = {
  ociVersion: '1.0.2',
  process: {
    terminal: false,
    user: { uid: 0, gid: 0 },
    args: node,
    env: ['PATH=/usr/local/bin:/usr/bin:/bin'],
    cwd: '/',
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    noNewPrivileges: true,
  },
  root: { path: 'rootfs', readonly: true },
  hostname: 'bench',
  mounts: [
    { destination: '/proc', type: 'proc', source: 'proc' },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    { destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['nosuid', 'noexec', 'newinstance'] },
    { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: [...nosuid, 'mode=1777', 'size=65536k'] },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...nosuid, 'ro'] },
  ],
  linux: {
    // The limits that the platform's container gets by default.
    resources: { memory: { limit: 128 * 2 ** 20 }, pids: { limit: 64 }, cpu: { quota: 100_000, period: 100_000 } },
    namespaces: ['pid', 'network', 'ipc', 'uts', 'mount', 'cgroup'].map((type) => ({ type })),
  },
};

/** The v2 mount of a machine whose controllers are on v1. */
function hybridMount(): string | undefined {
  const mounts = cgroupMounts(readFileSync('/proc/self/mounts', 'utf8'));
  if (!mounts.some(({ version }) => version === 1)) return undefined;
  return mounts.find(({ version }) => version === 2)?.path;
}
