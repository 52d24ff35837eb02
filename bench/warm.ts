/**
 * Calls of functions whose instances are there, in turn with a bare Node HTTP server that answers the same on the same
 * cores: under load from 1, 32 and 128 connections, and one at a time with pauses, as most functions are called.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { startBareServer } from './support/bare-server.ts';
import type { Bench, Measured, RunOptions, Table } from './support/bench.ts';
import { Caller } from './support/caller.ts';
import { deployUntouched } from './support/functions.ts';
import { type Installation, openInstallation } from './support/installation.ts';
import { cpuMs } from './support/process-usage.ts';
import { median, summarize } from './support/statistics.ts';
import { type LoadSummary, requireWrk, runWrk } from './support/wrk.ts';

const connectionCounts = [1, 32, 128] as const;
const seconds = 4;
const warmUpSeconds = 2;
const pauseMs = 20;
/** Lone calls to each subject. */
const loneCalls = 200;
/** Of the function with concurrency 1; more than the cores can run would only wait in memory. */
const maxInstances = 16;

export const warm: Bench = {
  summary: 'calls of a running function at 1, 32 and 128 connections, against a bare Node HTTP server',
  counts: `rounds of ${seconds} s for each function and number of connections`,
  defaultN: 3,
  run,
};

interface Subject {
  readonly name: string;
  readonly url: string;
  /** Its processes by part. */
  pids(): Promise<Map<string, number[]>>;
}

interface LoadSample extends LoadSummary {
  readonly subject: string;
  readonly connections: number;
  /** Processor time by part, microseconds a call. */
  readonly cpuUs: ReadonlyMap<string, number>;
}

async function run({ n, signal, progress }: RunOptions): Promise<Measured> {
  requireWrk();
  progress('starting the platform');
  await using installation = await openInstallation(signal);
  await using bare = await startBareServer();
  await deployUntouched(installation, { name: 'many', concurrency: 64 }, signal);
  await deployUntouched(installation, { name: 'single', concurrency: 1, maxInstances }, signal);
  const platformPids = () => partsOf(installation);
  const subjects: Subject[] = [
    { name: 'bare Node HTTP server', url: bare.url, pids: async () => new Map([['server', [bare.pid]]]) },
    { name: 'function, concurrency 64', url: `${installation.url}/fn/many`, pids: platformPids },
    { name: 'function, concurrency 1', url: `${installation.url}/fn/single`, pids: platformPids },
  ];
  progress('warming up');
  for (const { url } of subjects) await runWrk({ url, connections: 128, seconds: warmUpSeconds }, signal);
  const samples: LoadSample[] = [];
  for (let round = 1; round <= n; round++) {
    for (const connections of connectionCounts) {
      for (const subject of subjects) {
        progress(`round ${round} of ${n}: ${connections} connections, ${subject.name}`);
        samples.push(await measureLoad(subject, connections, signal));
      }
    }
  }
  progress('single calls with pauses');
  const lone = await measureLone(subjects, signal);
  return report(subjects, samples, lone);
}

/** Pids by part of the platform; all instances are one part. */
async function partsOf(installation: Installation): Promise<Map<string, number[]>> {
  const parts = new Map<string, number[]>();
  for (const [name, pid] of await installation.processes()) parts.set(name, [pid]);
  const { workers } = await installation.status();
  const instances = workers.flatMap((worker) => worker.instances.map(({ pid }) => pid));
  return parts.set(
    'instances',
    instances.filter((pid) => pid !== null),
  );
}

async function measureLoad(subject: Subject, connections: number, signal: AbortSignal): Promise<LoadSample> {
  const before = await cpuByPart(subject);
  const summary = await runWrk({ url: subject.url, connections, seconds }, signal);
  const after = await cpuByPart(subject);
  const cpuUs = new Map(
    [...after].map(([part, ms]) => [part, ((ms - (before.get(part) ?? 0)) * 1000) / summary.requests]),
  );
  return { ...summary, subject: subject.name, connections, cpuUs };
}

async function cpuByPart(subject: Subject): Promise<Map<string, number>> {
  const parts = await subject.pids();
  return new Map([...parts].map(([part, pids]) => [part, pids.reduce((sum, pid) => sum + cpuMs(pid), 0)]));
}

/** @returns milliseconds by subject */
async function measureLone(subjects: readonly Subject[], signal: AbortSignal): Promise<Map<string, number[]>> {
  // One client each: a connection of its own, in turn.
  const callers = subjects.map((subject) => ({ subject, caller: new Caller(), values: [] as number[] }));
  try {
    for (let call = 0; call < loneCalls; call++) {
      signal.throwIfAborted();
      for (const { subject, caller, values } of callers) {
        await delay(pauseMs);
        values.push((await caller.callOk(subject.url)).ms);
      }
    }
  } finally {
    for (const { caller } of callers) caller[Symbol.dispose]();
  }
  return new Map(callers.map(({ subject, values }) => [subject.name, values]));
}

interface LoadRow extends Record<string, string | number> {
  subject: string;
  connections: number;
  requests: number;
  perSecond: number;
  p50Ms: number;
}

/** Medians over the rounds. */
function loadRows(subjects: readonly Subject[], samples: readonly LoadSample[]): LoadRow[] {
  return connectionCounts.flatMap((connections) =>
    subjects.map(({ name: subject }) => {
      const rounds = samples.filter((sample) => sample.connections === connections && sample.subject === subject);
      const middle = (value: (sample: LoadSample) => number) => median(rounds.map(value));
      return {
        subject,
        connections,
        requests: rounds.reduce((sum, { requests }) => sum + requests, 0),
        perSecond: middle((sample) => sample.requests / sample.seconds),
        p50Ms: middle(({ p50Us }) => p50Us / 1000),
        p95Ms: middle(({ p95Us }) => p95Us / 1000),
        p99Ms: middle(({ p99Us }) => p99Us / 1000),
        maxMs: Math.max(...rounds.map(({ maxUs }) => maxUs / 1000)),
      };
    }),
  );
}

function report(
  subjects: readonly Subject[],
  samples: readonly LoadSample[],
  lone: ReadonlyMap<string, number[]>,
): Measured {
  const rows = loadRows(subjects, samples);
  const find = (subject: string, connections: number) =>
    rows.find((row) => row.subject === subject && row.connections === connections) as LoadRow;
  return {
    tables: [loadTable(rows), loneTable(lone), cpuTable(subjects, samples)],
    budgets: [
      {
        what: 'warm call at 1 connection, p50',
        unit: 'ms',
        want: 'at most',
        limit: 1,
        actual: find('function, concurrency 64', 1).p50Ms,
      },
      {
        what: 'calls at 128 connections, concurrency 64',
        unit: '/s',
        want: 'at least',
        limit: 8000,
        actual: find('function, concurrency 64', 128).perSecond,
      },
      {
        what: 'calls at 128 connections, concurrency 1',
        unit: '/s',
        want: 'at least',
        limit: 5000,
        actual: find('function, concurrency 1', 128).perSecond,
      },
    ],
    settings: { seconds, warmUpSeconds, loneCalls, pauseMs, maxInstances },
    notes: [
      'percentiles and rates are medians over the rounds; wrk runs on the same cores and takes its share of them',
    ],
  };
}

function loadTable(rows: readonly LoadRow[]): Table {
  return {
    title: 'Load from wrk',
    columns: [
      { key: 'connections', label: 'connections', digits: 0 },
      { key: 'subject', label: '' },
      { key: 'requests', label: 'n', digits: 0 },
      { key: 'perSecond', label: 'per second', digits: 0 },
      { key: 'p50Ms', label: 'p50 ms' },
      { key: 'p95Ms', label: 'p95 ms' },
      { key: 'p99Ms', label: 'p99 ms' },
      { key: 'maxMs', label: 'max ms' },
    ],
    rows,
  };
}

function loneTable(lone: ReadonlyMap<string, number[]>): Table {
  return {
    title: `One call every ${pauseMs} ms, milliseconds`,
    columns: [
      { key: 'subject', label: '' },
      { key: 'n', label: 'n', digits: 0 },
      ...(['p50', 'p95', 'p99', 'max'] as const).map((key) => ({ key, label: key })),
    ],
    rows: [...lone].map(([subject, values]) => ({ subject, ...summarize(values) })),
  };
}

function cpuTable(subjects: readonly Subject[], samples: readonly LoadSample[]): Table {
  const parts = [...new Set(samples.flatMap(({ cpuUs }) => [...cpuUs.keys()]))];
  const rows = connectionCounts.flatMap((connections) =>
    subjects.map(({ name: subject }) => {
      const rounds = samples.filter((sample) => sample.connections === connections && sample.subject === subject);
      const used = parts.map((part) => [part, medianOf(rounds, part)] as const);
      return {
        connections,
        subject,
        ...Object.fromEntries(used),
        sum: used.reduce((sum, [, us]) => sum + (us ?? 0), 0),
      };
    }),
  );
  return {
    title: 'Processor time of a call by process, microseconds (wrk and the kernel’s own threads not counted)',
    columns: [
      { key: 'connections', label: 'connections', digits: 0 },
      { key: 'subject', label: '' },
      ...parts.map((part) => ({ key: part, label: part, digits: 0 })),
      { key: 'sum', label: 'sum', digits: 0 },
    ],
    rows,
  };
}

function medianOf(rounds: readonly LoadSample[], part: string): number | null {
  const values = rounds.flatMap(({ cpuUs }) => cpuUs.get(part) ?? []);
  return values.length > 0 ? median(values) : null;
}
