/** The gateway's HTTP: one listener for both, the invoke path and the management API. A function of its dependencies. */

import type { RequestListener } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { createInvokeHandler, type InvokeDeps } from './invoke.ts';
import { createManagementApp, type ManagementDeps } from './management.ts';
import { invokePrefix } from './target.ts';

export interface AppDeps {
  readonly invoke: InvokeDeps;
  readonly management: ManagementDeps;
}

/**
 * Calls of functions go around Hono: no Request, Response or Context is made for them, and their path stays as the client
 * wrote it (a URL parser would resolve `..` and change the encoding). Everything else is Hono's.
 */
export function createApp(deps: AppDeps): RequestListener {
  const invoke = createInvokeHandler(deps.invoke);
  const management = getRequestListener(createManagementApp(deps.management).fetch, { overrideGlobalObjects: false });
  return (request, response) => {
    if (request.url?.startsWith(invokePrefix)) invoke(request, response);
    else void management(request, response);
  };
}
