/** The function that `fn start` shows: deployed when there is none, then called twice, for a cold and a warm answer. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { answerHeaders } from '../contracts/invocation.ts';
import { functionSummarySchema } from '../contracts/management-api.ts';
import { parseServerTiming } from './commands/invoke.ts';
import { deployFolder } from './deploy/deploy.ts';
import { withTemporaryFolder } from './deploy/temporary-folder.ts';
import { GatewayClient, readAll } from './gateway-client.ts';
import { createFunction } from './new-function.ts';
import { CliError } from './output.ts';

export interface Call {
  /** `warm`, `prewarmed` or `cold`. */
  readonly start: string;
  /** By stage, as the platform measured them. */
  readonly times: Readonly<Record<string, number>>;
  /** As seen from here. */
  readonly totalMs: number;
  /** Its beginning. */
  readonly answer: string;
}

export type Sample =
  | {
      readonly kind: 'called';
      readonly name: string;
      readonly url: string;
      /** Null when it was there already. */
      readonly deployedMs: number | null;
      readonly calls: readonly Call[];
    }
  /** There are functions, but not the sample: they are not called unasked. */
  | { readonly kind: 'others'; readonly functions: readonly string[] };

const sampleName = 'hello';
const shownAnswerLength = 200;

/** @throws CliError or StokeError: the deploy's, or that the answer is not a good one */
export async function runSample(gatewayUrl: string, signal: AbortSignal): Promise<Sample> {
  const gateway = new GatewayClient(gatewayUrl);
  const schema = z.object({ functions: z.array(functionSummarySchema) });
  const { functions } = await gateway.json(schema, { method: 'GET', path: '/api/v1/functions', signal });
  const isThere = functions.some(({ name }) => name === sampleName);
  if (functions.length > 0 && !isThere) return { kind: 'others', functions: functions.map(({ name }) => name) };
  const deployedMs = isThere ? null : await deploySample(gateway, signal);
  const calls = [await call(gateway, signal), await call(gateway, signal)];
  return { kind: 'called', name: sampleName, url: `${gatewayUrl}/fn/${sampleName}`, deployedMs, calls };
}

async function deploySample(gateway: GatewayClient, signal: AbortSignal): Promise<number> {
  return withTemporaryFolder(tmpdir(), 'stoke-sample-', async (temporary) => {
    const { folder } = await createFunction({ folder: join(temporary, sampleName), template: 'typescript' });
    // Not verified, so that the first call is a first start.
    const { totalMs } = await deployFolder({ folder, gateway, verify: false, signal });
    return totalMs;
  });
}

async function call(gateway: GatewayClient, signal: AbortSignal): Promise<Call> {
  const startedAt = performance.now();
  const answer = await gateway.send({ method: 'GET', path: `/fn/${sampleName}`, signal });
  const body = (await readAll(answer)).toString('utf8');
  const totalMs = performance.now() - startedAt;
  if (answer.statusCode !== 200) {
    throw new CliError(`"${sampleName}" answered ${answer.statusCode}: ${body.slice(0, shownAnswerLength)}`, {
      code: 'sample_failed',
      remedy: `see its output with: fn logs ${sampleName}`,
    });
  }
  return {
    start: String(answer.headers[answerHeaders.start.toLowerCase()]),
    times: parseServerTiming(String(answer.headers[answerHeaders.timing.toLowerCase()] ?? '')),
    totalMs,
    answer: body.trim().slice(0, shownAnswerLength),
  };
}
