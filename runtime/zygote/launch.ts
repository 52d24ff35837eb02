/**
 * Starts a zygote: `launch.ts <stripped directory> <ZygoteConfig JSON>`, with the daemon's pipes as stdin and stdout.
 *
 * An ordinary Node process that prepares what a zygote cannot do for itself, and then becomes it by execve:
 * 1. Strips the types of the zygote's own modules into a directory, so that the compiler never is in its memory
 *    (17 MiB that every fork would copy the page tables of).
 * 2. Sets the filter that makes V8's heap survive a fork: it has to be there before V8 starts.
 */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { CLOSE_RANGE_CLOEXEC } from '../sys/constants.ts';
import { zygoteFilter } from '../sys/seccomp.ts';
import { architecture, closeRange, execve, installSeccomp, setCloseOnExec } from '../sys/syscalls.ts';
import type { ZygoteConfig } from './protocol.ts';

const project = resolve(import.meta.dirname, '../..');
const [stripped, configText] = process.argv.slice(2) as [string, string];
const config = JSON.parse(configText) as ZygoteConfig;

const entry = stripClosure(join(import.meta.dirname, 'main.ts'));
const agent = stripClosure(config.agent);
symlinkSync(join(project, 'node_modules'), join(stripped, 'node_modules'));
writeFileSync(join(stripped, 'package.json'), '{"type":"module"}');

installSeccomp(zygoteFilter(architecture));
// Node marks the pipes of the protocol close-on-exec, and may have got more from its parent than it knows of.
closeRange(3, 0x7fffffff, CLOSE_RANGE_CLOEXEC);
for (const fd of [0, 1, 2]) setCloseOnExec(fd, false);
execve(
  process.execPath,
  [
    'zygote',
    '--single-threaded',
    '--expose-gc',
    // Compiled once here, not again in each child: together 1 ms of a start. main.ts turns laziness on again.
    '--no-lazy',
    '--no-flush-bytecode',
    '--disable-warning=ExperimentalWarning',
    // Half of the default: young garbage of a function must fit beside its data into a small memory limit.
    '--max-semi-space-size=8',
    entry,
    JSON.stringify({ ...config, agent }),
  ],
  { PATH: '/usr/local/bin:/usr/bin:/bin', LANG: 'C.UTF-8' },
);

/** Writes `file` and all it imports from this project as JavaScript. @returns where `file` went */
function stripClosure(file: string, seen = new Set<string>()): string {
  const target = targetOf(file);
  if (seen.has(file)) return target;
  seen.add(file);
  const source = stripTypeScriptTypes(readFileSync(file, 'utf8'));
  const javascript = source.replace(/(from\s+|import\s*\(?\s*)'(\.[^']*)\.ts'/g, (_, before: string, path: string) => {
    stripClosure(resolve(dirname(file), `${path}.ts`), seen);
    return `${before}'${path}.js'`;
  });
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, javascript);
  return target;
}

function targetOf(file: string): string {
  return join(stripped, relative(project, file)).replace(/\.ts$/, '.js');
}
