/** The worker process of a node. */
import { chownSync, mkdirSync } from 'node:fs';
import type { Config } from '../platform/config.ts';
import { runService } from '../platform/lifecycle.ts';
import { dropPrivileges, findUser } from '../platform/user.ts';
import { logFolderOf, startWorker } from './app.ts';

await runService('worker', (context) => startWorker({ ...context, onBound: () => giveRootAway(context.config) }));

function giveRootAway(config: Config): void {
  const folder = logFolderOf(config.home);
  mkdirSync(folder, { recursive: true });
  if (process.getuid?.() !== 0) return;
  const user = findUser(config.user);
  chownSync(folder, user.uid, user.gid);
  dropPrivileges(user);
}
