/**
 * First calls of functions that were never called, HTTP in to HTTP out, with nothing ready but the zygote; in turn with
 * the start of the same Node binary by other means. Each measurement comes after a pause: back to back, the kernel's
 * cgroup lock looks a thousand times cheaper than it is.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Bench, Measured, RunOptions, Table } from './support/bench.ts';
import { type Called, Caller } from './support/caller.ts';
import { deployUntouched } from './support/functions.ts';
import { type Installation, openInstallation } from './support/installation.ts';
import { openPeers, type Peers } from './support/peers.ts';
import { median, summarize } from './support/statistics.ts';

/**
 * Two pauses. After the long one, every process of the platform has slept and the processors have done other things; the
 * short one is a platform with something to do, and still too long for the lock's illusion.
 */
const idlePauseMs = 100;
const busyPauseMs = 10;
/** First calls with the short pause, for each one with the long pause. */
const busyCalls = 4;
/** Functions called before the first that counts: the platform has run for a while, its own code is compiled. */
const warmUpCalls = 20;

export const cold: Bench = {
  summary: 'first call of a never-called function, against node -e 0 and container engines',
  counts: 'functions, each called for the first time once',
  defaultN: 60,
  run,
};

async function run(options: RunOptions): Promise<Measured> {
  const { n, signal, progress } = options;
  progress('starting the platform');
  await using installation = await openInstallation(signal);
  progress('trying the peers');
  await using peers = await openPeers(installation);
  using caller = new Caller();
  await deployAll(installation, n, options);
  for (let i = 0; i < warmUpCalls; i++) await callFirst(installation, caller, `warm-up-${i}`);
  const samples = newSamples(peers);
  for (let i = 0; i < n; i++) {
    signal.throwIfAborted();
    progress(`measuring ${i + 1} of ${n}`);
    await measureRound(i, { installation, caller, peers }, samples);
  }
  return report(samples, peers);
}

async function deployAll(installation: Installation, n: number, { signal, progress }: RunOptions): Promise<void> {
  const names = [
    ...Array.from({ length: warmUpCalls }, (_, i) => `warm-up-${i}`),
    ...Array.from({ length: n * (1 + busyCalls) }, (_, i) => `cold-${i}`),
  ];
  for (const [index, name] of names.entries()) {
    progress(`deploying ${index + 1} of ${names.length}`);
    await deployUntouched(installation, { name }, signal);
  }
}

interface Samples {
  /** After the long pause. */
  readonly idle: Called[];
  /** After the short pause. */
  readonly busy: Called[];
  readonly next: Called[];
  /** Milliseconds by name. */
  readonly peers: Map<string, number[]>;
}

function newSamples(peers: Peers): Samples {
  return { idle: [], busy: [], next: [], peers: new Map(peers.runnable.map(({ name }) => [name, []])) };
}

interface Subjects {
  readonly installation: Installation;
  readonly caller: Caller;
  readonly peers: Peers;
}

/** One of each, but for the first calls of a busy platform. */
async function measureRound(round: number, { installation, caller, peers }: Subjects, samples: Samples): Promise<void> {
  const name = (call: number) => `cold-${round * (1 + busyCalls) + call}`;
  await delay(idlePauseMs);
  samples.idle.push(await callFirst(installation, caller, name(0)));
  await delay(idlePauseMs);
  samples.next.push(await caller.callOk(`${installation.url}/fn/${name(0)}`));
  for (let call = 1; call <= busyCalls; call++) {
    await delay(busyPauseMs);
    samples.busy.push(await callFirst(installation, caller, name(call)));
  }
  for (const peer of peers.runnable) {
    await delay(idlePauseMs);
    samples.peers.get(peer.name)?.push(await peers.time(peer, round));
  }
}

/** @throws Error when something was ready for it */
async function callFirst(installation: Installation, caller: Caller, name: string): Promise<Called> {
  // The connection exists and the client's code has run: neither is in the figure.
  await caller.callOk(`${installation.url}/healthz`);
  const called = await caller.callOk(`${installation.url}/fn/${name}`);
  if (called.start !== 'cold')
    throw new Error(`the first call of ${name} had a ${called.start} start, want a cold one`);
  return called;
}

function report(samples: Samples, peers: Peers): Measured {
  const busy = summarize(samples.busy.map(({ ms }) => ms));
  const subjects: [string, number[]][] = [
    [`first call (cold), ${busyPauseMs} ms after the last`, samples.busy.map(({ ms }) => ms)],
    [`first call (cold), ${idlePauseMs} ms after anything`, samples.idle.map(({ ms }) => ms)],
    [`its next call, ${idlePauseMs} ms later`, samples.next.map(({ ms }) => ms)],
    ...samples.peers,
  ];
  const table: Table = {
    title: 'Milliseconds; calls from request to answer, programs from spawn to exit',
    columns: [
      { key: 'subject', label: '' },
      { key: 'n', label: 'n', digits: 0 },
      ...(['p50', 'p95', 'p99', 'min', 'max'] as const).map((key) => ({ key, label: key })),
      { key: 'timesFirstCall', label: 'p50 / cold' },
    ],
    rows: subjects.map(([subject, values]) => {
      const summary = summarize(values);
      return { subject, ...summary, timesFirstCall: summary.p50 / busy.p50 };
    }),
  };
  return {
    tables: [table, stageTable(samples.busy)],
    budgets: [
      { what: 'first call, p50', unit: 'ms', want: 'at most', limit: 6, actual: busy.p50 },
      { what: 'first call, p99', unit: 'ms', want: 'at most', limit: 25, actual: busy.p99 },
    ],
    settings: { idlePauseMs, busyPauseMs, busyCalls, warmUpCalls },
    notes: [
      'the functions were deployed unverified: nothing of them was ever started; their network namespaces were made at the deploy',
      ...peers.notes,
    ],
  };
}

function stageTable(calls: readonly Called[]): Table {
  const stage = (name: string) => calls.map(({ stages }) => stages[name] ?? 0);
  const rows: [string, number[]][] = [
    ['queue: gateway to worker, through Redis', stage('queue')],
    ['start: container made, handler loaded', stage('start')],
    ['handler', stage('handler')],
    ['total in the gateway', stage('total')],
    [
      'gateway, less the stages',
      calls.map(({ stages: { queue = 0, start = 0, handler = 0, total = 0 } }) => total - queue - start - handler),
    ],
    ['client and its connection', calls.map(({ ms, stages }) => ms - (stages.total ?? 0))],
  ];
  return {
    title: 'Where a cold call spends its milliseconds (Server-Timing)',
    columns: [
      { key: 'stage', label: '' },
      ...(['p50', 'p95', 'p99', 'max'] as const).map((key) => ({ key, label: key })),
      { key: 'share', label: 'of p50 %', digits: 0 },
    ],
    rows: rows.map(([name, values]) => {
      const summary = summarize(values);
      return { stage: name, ...summary, share: (summary.p50 / median(calls.map(({ ms }) => ms))) * 100 };
    }),
  };
}
