/** What `process` tells a function about its program. The zygote's own command line names files that no container has. */
import { join } from 'node:path';

/** Where the base image has Node. */
const nodePath = '/usr/local/bin/node';

/** Makes it look as if the function's entry had been run as a script: `spawn(process.execPath)` and `fork()` then work. */
export function presentProgram(root: string, entry: string): void {
  process.execPath = nodePath;
  process.execArgv = [];
  process.argv = [nodePath, join(root, entry)];
}
