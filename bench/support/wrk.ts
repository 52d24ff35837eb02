/** Load from `wrk`: as many calls as the connections carry, each sent when the one before it was answered. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { findProgram } from '../../services/platform/machine.mjs';
import { cleanEnvironment } from './clean-environment.ts';

export interface Load {
  readonly url: string;
  readonly connections: number;
  readonly seconds: number;
}

const summarySchema = z.object({
  requests: z.int(),
  seconds: z.number(),
  p50Us: z.number(),
  p95Us: z.number(),
  p99Us: z.number(),
  maxUs: z.number(),
  /** Answers of 400 and above. */
  statusErrors: z.int(),
  socketErrors: z.int(),
});
export type LoadSummary = z.infer<typeof summarySchema>;

/** One thread: it shares the cores with what it measures. */
const threads = '1';
const reportScript = join(import.meta.dirname, 'wrk-report.lua');

/** @throws Error when any call failed: figures of failures are no figures */
export async function runWrk({ url, connections, seconds }: Load, signal: AbortSignal): Promise<LoadSummary> {
  const args = [
    '-t',
    threads,
    '-c',
    String(connections),
    '-d',
    `${seconds}s`,
    '--timeout',
    '10s',
    '-s',
    reportScript,
    url,
  ];
  const child = spawn('wrk', args, { env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'inherit'], signal });
  const exited = new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve));
  const [output, status] = await Promise.all([text(child.stdout), exited]);
  if (status !== 0) throw new Error(`wrk ended with status ${status}: ${output}`);
  const summary = parseSummary(output);
  const { statusErrors, socketErrors } = summary;
  if (statusErrors + socketErrors === 0) return summary;
  throw new Error(
    `of ${summary.requests} calls of ${url} ${statusErrors} had an error status, ${socketErrors} no answer`,
  );
}

/** The line of `wrk-report.lua` among wrk's own. */
function parseSummary(output: string): LoadSummary {
  const line = output.split('\n').find((each) => each.startsWith('{'));
  if (line === undefined) throw new Error(`wrk printed no summary: ${output}`);
  return summarySchema.parse(JSON.parse(line));
}

/** @throws Error with the remedy */
export function requireWrk(): void {
  if (!findProgram('wrk')) throw new Error('wrk is not installed; install it with: apt-get install wrk');
}
