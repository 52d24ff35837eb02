import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { Worker } from 'node:worker_threads';

/** Tells what it can see and do in its container. */
export const handler = async (event) => ({
  program: [process.execPath, ...process.execArgv, ...process.argv],
  pid: process.pid,
  folder: process.cwd(),
  hostname: hostname(),
  processes: readdirSync('/proc').filter((name) => /^\d+$/.test(name)),
  ownNode: execFileSync(process.execPath, ['-p', '6 * 7'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim(),
  thread: await new Promise((resolve, reject) => {
    const code = 'require("node:worker_threads").parentPort.postMessage("from a thread")';
    new Worker(code, { eval: true }).on('message', resolve).on('error', reject);
  }),
  interfaces: Object.keys(networkInterfaces()),
  connections: await Promise.all(event.addresses.map(tryConnect)),
  writes: ['/dev/null', '/dev/shm/x', '/dev/x', '/var/task/x', '/etc/passwd', '/proc/self/comm', '/sys/kernel/x', '/x', '/tmp/x'].filter(canWrite),
  reads: ['/proc/1/environ', '/proc/kcore', '/proc/keys', '/etc/shadow'].filter(canRead),
});

function tryConnect([host, port]) {
  return new Promise((resolve) => {
    const socket = connect(port, host);
    socket.once('connect', () => resolve('connected')).once('error', (error) => resolve(error.code));
  });
}

function canWrite(path) {
  try {
    writeFileSync(path, '');
    return true;
  } catch {
    return false;
  }
}

function canRead(path) {
  try {
    return readFileSync(path).length > 0;
  } catch {
    return false;
  }
}
