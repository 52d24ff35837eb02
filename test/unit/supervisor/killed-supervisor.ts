/** A supervisor in a process of its own, for a test to kill: prints its processes when all are ready. */
import { join } from 'node:path';
import { processTable } from '../../../services/cli/supervisor/process-table.ts';
import { Supervisor } from '../../../services/cli/supervisor/supervisor.ts';
import { parseConfig } from '../../../services/platform/config.ts';
import { fakeGateway, self } from './fixture.ts';

const folder = process.argv[2] as string;
const config = parseConfig({ STOKE_HOME: join(folder, 'home'), STOKE_RUN: join(folder, 'run') });
const [redis = []] = processTable(config, { root: '/', node: process.execPath, environment: process.env, user: self });
const supervisor = new Supervisor({ config, user: self, stages: [redis, [fakeGateway]], onEvent: () => undefined });
await supervisor.start();
process.stdout.write(`${JSON.stringify(supervisor.status().processes)}\n`);
