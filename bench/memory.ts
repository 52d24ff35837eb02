/**
 * What an idle instance costs, each of another function: after its first call, and after many calls have filled its young
 * heap; beside idle bare Node HTTP servers after as many.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { containerStatsSchema } from '../services/contracts/daemon-api.ts';
import { UnixHttpClient } from '../services/platform/unix-http.ts';
import { type BareServer, startBareServer } from './support/bare-server.ts';
import type { Bench, Measured, RunOptions, Table } from './support/bench.ts';
import { Caller } from './support/caller.ts';
import { deployUntouched } from './support/functions.ts';
import { type Installation, openInstallation } from './support/installation.ts';
import { availableMemoryMib, cpuMs, type MemoryUse, memoryUse } from './support/process-usage.ts';
import { summarize } from './support/statistics.ts';

/** Until what a call leaves behind has settled, and long enough to see whether idle instances use the processor. */
const idleMs = 5000;
const bareServers = 5;
/** How many of the instances are then called more, and how often each. */
const usedInstances = 10;
const usedCalls = 500;

export const memory: Bench = {
  summary: 'memory of an idle instance, against a bare Node HTTP server',
  counts: 'instances, each of another function',
  defaultN: 50,
  run,
};

/** A process and what its cgroup is charged; the bare servers have none of their own. */
interface Footprint extends MemoryUse {
  readonly chargedMib: number | null;
}

async function run({ n, signal, progress }: RunOptions): Promise<Measured> {
  progress('starting the platform');
  await using installation = await openInstallation(signal);
  for (let i = 0; i < n; i++) {
    progress(`deploying ${i + 1} of ${n}`);
    await deployUntouched(installation, { name: `idle-${i}` }, signal);
  }
  progress('starting the instances');
  const availableBefore = availableMemoryMib();
  await callEach(Array.from({ length: n }, (_, i) => `${installation.url}/fn/idle-${i}`));
  const pids = await instancePids(installation, n);
  await delay(idleMs, undefined, { signal });
  const availableAfter = availableMemoryMib();
  const cpuPercent = await idleCpu([...pids.values()], signal);
  const instances = await footprints(installation, pids);
  progress('calling some of them more');
  const used = await usedFootprints(installation, Math.min(usedInstances, n), signal);
  progress('starting the bare servers');
  const bare = await bareFootprints(signal);
  return report({ instances, used, bare, systemMib: (availableBefore - availableAfter) / n, cpuPercent });
}

async function callEach(urls: readonly string[], times = 1): Promise<void> {
  using caller = new Caller();
  for (let call = 0; call < times; call++) for (const url of urls) await caller.callOk(url);
}

/** Of the idle instances of these functions, or of all, by container id. @throws Error when it is not `n` of them */
async function instancePids(
  installation: Installation,
  n: number,
  functions?: ReadonlySet<string>,
): Promise<Map<string, number>> {
  const { workers } = await installation.status();
  const idle = workers
    .flatMap(({ instances }) => instances)
    .filter((instance) => instance.state === 'idle' && (functions?.has(instance.function) ?? true));
  if (idle.length !== n) throw new Error(`${idle.length} instances are idle, want ${n}`);
  return new Map(idle.map(({ id, pid }) => [id, pid as number]));
}

/** Of one core, all instances together. */
async function idleCpu(pids: readonly number[], signal: AbortSignal): Promise<number> {
  const used = () => pids.reduce((sum, pid) => sum + cpuMs(pid), 0);
  const before = used();
  await delay(idleMs, undefined, { signal });
  return ((used() - before) / idleMs) * 100;
}

async function footprints(installation: Installation, pids: ReadonlyMap<string, number>): Promise<Footprint[]> {
  const daemon = new UnixHttpClient(installation.daemonSocket);
  try {
    const found: Footprint[] = [];
    for (const [id, pid] of pids) {
      const answer = await daemon.json({ method: 'GET', path: `/v1/containers/${id}/stats` });
      const { memoryBytes } = containerStatsSchema.parse(answer);
      found.push({ ...memoryUse(pid), chargedMib: memoryBytes / 2 ** 20 });
    }
    return found;
  } finally {
    daemon.close();
  }
}

async function usedFootprints(installation: Installation, count: number, signal: AbortSignal): Promise<Footprint[]> {
  const names = new Set(Array.from({ length: count }, (_, i) => `idle-${i}`));
  await callEach(
    [...names].map((name) => `${installation.url}/fn/${name}`),
    usedCalls,
  );
  await delay(idleMs, undefined, { signal });
  return footprints(installation, await instancePids(installation, count, names));
}

async function bareFootprints(signal: AbortSignal): Promise<Footprint[]> {
  await using stack = new AsyncDisposableStack();
  const servers: BareServer[] = [];
  for (let i = 0; i < bareServers; i++) servers.push(stack.use(await startBareServer()));
  await callEach(
    servers.map(({ url }) => url),
    usedCalls,
  );
  await delay(idleMs, undefined, { signal });
  return servers.map(({ pid }) => ({ ...memoryUse(pid), chargedMib: null }));
}

interface Findings {
  readonly instances: readonly Footprint[];
  readonly used: readonly Footprint[];
  readonly bare: readonly Footprint[];
  readonly systemMib: number;
  readonly cpuPercent: number;
}

const figures = {
  pssMib: 'PSS',
  privateDirtyMib: 'private dirty',
  residentMib: 'resident',
  pageTablesMib: 'page tables',
  chargedMib: 'charged to its cgroup',
} as const satisfies Record<keyof Footprint, string>;

function report({ instances, used, bare, systemMib, cpuPercent }: Findings): Measured {
  const machine: Table = {
    title: 'All instances together',
    columns: [
      { key: 'what', label: '' },
      { key: 'value', label: '' },
    ],
    rows: [
      { what: 'MiB less available on the machine, for each instance', value: systemMib },
      { what: 'processor time while idle, % of a core', value: cpuPercent },
    ],
  };
  return {
    tables: [
      memoryTable('idle instance after its first call', instances),
      memoryTable(`idle instance after ${usedCalls} more`, used),
      memoryTable(`idle bare Node HTTP server after ${usedCalls} calls`, bare),
      machine,
    ],
    budgets: [
      {
        what: 'PSS of an idle instance after its first call, p50',
        unit: 'MiB',
        want: 'at most',
        limit: 3,
        actual: summarize(instances.map(({ pssMib }) => pssMib)).p50,
      },
    ],
    settings: { idleMs, usedInstances, usedCalls, bareServers },
    notes: [
      'PSS shares out common pages: it falls as the number of instances grows, towards what is private',
      'what the machine has less available includes the share of the kernel, and whatever else changed meanwhile',
    ],
  };
}

function memoryTable(subject: string, found: readonly Footprint[]): Table {
  const rows = Object.entries(figures).flatMap(([key, figure]) => {
    const values = found.flatMap((each) => each[key as keyof Footprint] ?? []);
    return values.length > 0 ? [{ subject, figure, ...summarize(values) }] : [];
  });
  return {
    title: `MiB of an ${subject}`,
    columns: [
      { key: 'figure', label: '' },
      { key: 'n', label: 'n', digits: 0 },
      ...(['p50', 'p95', 'p99', 'max'] as const).map((key) => ({ key, label: key })),
    ],
    rows,
  };
}
