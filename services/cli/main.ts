/** The `fn` command. Turns on the cache of compiled code before anything else is loaded: half of the start-up time. */
import module from 'node:module';
import { join } from 'node:path';
import { cacheFolder } from './cache-folder.ts';

// Not in the default /tmp: root must not run code from a folder where everyone may write.
module.enableCompileCache(join(cacheFolder(process.env), 'compiled'));
// The launcher sets it, so that this file too comes from the cache. It is not meant for what fn starts.
delete process.env.NODE_COMPILE_CACHE;

// `fn list | head`: the reader has what it wanted.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

const { runProgram } = await import('./program.ts');
await runProgram(process.argv.slice(2));
