/** The gateway's process: HTTP in front, the nodes' queues and the reply channel behind. Unprivileged once it is ready. */
import { runService } from '../platform/lifecycle.ts';
import { dropPrivileges, findUser } from '../platform/user.ts';
import { startGateway } from './gateway.ts';

await runService('gateway', async (context) => {
  const user = process.getuid?.() === 0 ? findUser(context.config.user) : undefined;
  const service = await startGateway(context, user);
  // Every socket is bound and every module loaded: from here on nothing needs root.
  if (user) dropPrivileges(user);
  return service;
});
