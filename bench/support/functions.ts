/** The functions that are called: one small handler, in folders of its own, deployed under many names. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Deployment, deployFolder } from '../../services/cli/deploy/deploy.ts';
import { GatewayClient } from '../../services/cli/gateway-client.ts';
import type { FunctionConfigInput } from '../../services/contracts/function.ts';
import { answerText, answerType } from './bare-server.ts';
import type { Installation } from './installation.ts';

/** The same answer as the bare server's. */
export function handlerSource(text = answerText): string {
  const [body, type] = [text, answerType].map((value) => JSON.stringify(value));
  return `export default { fetch: () => new Response(${body}, { headers: { 'content-type': ${type} } }) };\n`;
}

/** @returns the folder */
export function writeFunction(parent: string, config: FunctionConfigInput, source = handlerSource()): string {
  const folder = join(parent, config.name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'fn.json'), JSON.stringify(config));
  writeFileSync(join(folder, 'index.mjs'), source);
  return folder;
}

/** Deploys without starting anything of it: its first call is the first time that its code runs. */
export async function deployUntouched(
  installation: Installation,
  config: FunctionConfigInput,
  signal: AbortSignal,
): Promise<Deployment> {
  const folder = writeFunction(join(installation.scratch, 'functions'), config);
  return deployFolder({ folder, gateway: new GatewayClient(installation.url), verify: false, signal });
}
