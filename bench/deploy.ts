/**
 * From a changed file to the first answer of the new code: with the `fn deploy` command, with the same steps inside a
 * running process (what the command costs without its own start), and, as baseline, by ending a bare Node HTTP server and starting it anew.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { deployFolder } from '../services/cli/deploy/deploy.ts';
import { GatewayClient } from '../services/cli/gateway-client.ts';
import { type BareServer, startBareServer } from './support/bare-server.ts';
import type { Bench, Measured, RunOptions } from './support/bench.ts';
import { Caller } from './support/caller.ts';
import { handlerSource, writeFunction } from './support/functions.ts';
import { type Installation, openInstallation } from './support/installation.ts';
import { summarize } from './support/statistics.ts';

const fn = join(import.meta.dirname, '../services/cli/fn');
const name = 'changing';
/** The instances of the version before end meanwhile. */
const pauseMs = 300;
const warmUps = 3;

export const deploy: Bench = {
  summary: 'changed code to the first answer of the new version, against restarting a bare Node HTTP server',
  counts: 'deploys each way',
  defaultN: 20,
  run,
};

/** Milliseconds. */
interface Sample {
  readonly deployMs: number;
  readonly callMs: number;
}

/** Brings `content` into use; the first answer must be it. */
type Way = (content: string) => Promise<Sample>;

async function run({ n, signal, progress }: RunOptions): Promise<Measured> {
  progress('starting the platform');
  await using installation = await openInstallation(signal);
  await using restarted = new RestartedServer();
  using caller = new Caller();
  const ways: [string, Way][] = [
    ['fn deploy', (content) => byCommand(installation, caller, content, signal)],
    ['deploy from a running process', (content) => inProcess(installation, caller, content, signal)],
    ['bare Node server, restarted', (content) => restarted.change(caller, content)],
  ];
  const samples = new Map<string, Sample[]>(ways.map(([way]) => [way, []]));
  for (let i = -warmUps; i < n; i++) {
    progress(i < 0 ? 'warming up' : `measuring ${i + 1} of ${n}`);
    for (const [way, change] of ways) {
      await delay(pauseMs, undefined, { signal });
      const sample = await change(`${way} ${i}\n`);
      if (i >= 0) samples.get(way)?.push(sample);
    }
  }
  return report(samples);
}

async function byCommand(installation: Installation, caller: Caller, content: string, signal: AbortSignal) {
  const folder = changeFunction(installation, content);
  return timed(caller, `${installation.url}/fn/${name}`, content, async () => {
    const { environment: env } = installation;
    const child = spawn(fn, ['deploy', folder, '--json'], { env, stdio: ['ignore', 'ignore', 'pipe'], signal });
    const exited = new Promise<number | null>((resolve, reject) => child.once('error', reject).once('exit', resolve));
    const [errors, status] = await Promise.all([text(child.stderr), exited]);
    if (status !== 0) throw new Error(`fn deploy ended with status ${status}: ${errors}`);
  });
}

async function inProcess(installation: Installation, caller: Caller, content: string, signal: AbortSignal) {
  const folder = changeFunction(installation, content);
  return timed(caller, `${installation.url}/fn/${name}`, content, async () => {
    await deployFolder({ folder, gateway: new GatewayClient(installation.url), signal });
  });
}

function changeFunction(installation: Installation, content: string): string {
  return writeFunction(join(installation.scratch, 'functions'), { name }, handlerSource(content));
}

class RestartedServer implements AsyncDisposable {
  #server: BareServer | undefined;

  async change(caller: Caller, content: string): Promise<Sample> {
    return timed(
      caller,
      () => this.#server?.url ?? '',
      content,
      async () => {
        await this.#server?.[Symbol.asyncDispose]();
        this.#server = undefined;
        this.#server = await startBareServer(content);
      },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
  }
}

async function timed(
  caller: Caller,
  url: string | (() => string),
  content: string,
  change: () => Promise<void>,
): Promise<Sample> {
  const startedAt = performance.now();
  await change();
  const deployedAt = performance.now();
  const { text: answer } = await caller.callOk(typeof url === 'string' ? url : url());
  const callMs = performance.now() - deployedAt;
  if (answer !== content)
    throw new Error(`the first answer is ${JSON.stringify(answer)}, want ${JSON.stringify(content)}`);
  return { deployMs: deployedAt - startedAt, callMs };
}

function report(samples: ReadonlyMap<string, readonly Sample[]>): Measured {
  const totals = (way: string) => summarize((samples.get(way) ?? []).map(({ deployMs, callMs }) => deployMs + callMs));
  const rows = [...samples].flatMap(([way, found]) => [
    { way, part: 'until deployed', ...summarize(found.map(({ deployMs }) => deployMs)) },
    { way, part: 'first call', ...summarize(found.map(({ callMs }) => callMs)) },
    { way, part: 'both', ...totals(way) },
  ]);
  return {
    tables: [
      {
        title: 'Milliseconds from changed code to the first answer of the new code',
        columns: [
          { key: 'way', label: '' },
          { key: 'part', label: '' },
          { key: 'n', label: 'n', digits: 0 },
          ...(['p50', 'p95', 'p99', 'min', 'max'] as const).map((key) => ({ key, label: key, digits: 1 })),
        ],
        rows,
      },
    ],
    budgets: [
      {
        what: 'changed code to first answer, fn deploy, p50',
        unit: 'ms',
        want: 'at most',
        limit: 150,
        actual: totals('fn deploy').p50,
      },
    ],
    settings: { pauseMs, warmUps },
    notes: ['a deploy starts an instance before the version is taken into use, so its first call is a warm one'],
  };
}
