/** Run by a test: prints as JSON what the warm-up leaves behind in its process. */
import { readdirSync, readFileSync, readlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { warmUp } from '../../../templates/node/agent/main.ts';

const threads = () =>
  readdirSync('/proc/self/task').map((id) => readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim());
const sockets = () =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false; // the descriptor of the listing itself
    }
  }).length;

const before = { threads: threads(), sockets: sockets(), console: globalThis.console, stdout: process.stdout.write };
let draws = 0;
const random = Math.random;
Math.random = () => {
  draws++;
  return random();
};
await warmUp();
const result = {
  threads: threads().length - before.threads.length,
  poolThreads: threads().filter((name) => name.startsWith('libuv-worker')).length,
  sockets: sockets() - before.sockets,
  open: process.getActiveResourcesInfo().filter((name) => name !== 'PipeWrap' || sockets() > before.sockets),
  draws,
  sameConsole: globalThis.console === before.console && process.stdout.write === before.stdout,
  folders: readdirSync(tmpdir()).filter((name) => name.startsWith('warm-up-')),
};
writeSync(1, JSON.stringify(result));
