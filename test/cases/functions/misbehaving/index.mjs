import { spawn } from 'node:child_process';
import { readdirSync, readlinkSync, writeFileSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { fail } from './lib/database.mjs';

function ownSockets() {
  return readdirSync('/proc/self/fd').map(Number).filter((fd) => fd > 2 && linkOf(fd).startsWith('socket:'));
}

function linkOf(fd) {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return ''; // The one that the list was read with.
  }
}

const deeds = {
  nothing: () => 'well behaved',
  throw: () => fail('the password is 1234'),
  reject: async () => {
    await null;
    fail('later');
  },
  'throw-string': () => {
    throw 'a string';
  },
  'throw-null': () => {
    throw null;
  },
  'throw-getter': () => {
    throw {
      get message() {
        throw new Error('twice');
      },
    };
  },
  bigint: () => ({ items: [{ price: 1n }] }),
  cycle: () => {
    const result = { name: 'loop' };
    result.self = { result };
    return result;
  },
  'bad-status': () => ({ statusCode: 99, body: '' }),
  'bad-header': () => ({ statusCode: 200, headers: { 'x-bad': 'a\r\nx-injected: 1' }, body: '' }),
  exit: () => {
    console.log('last words');
    process.exit(7);
  },
  abort: () => process.abort(),
  uncaught: () => {
    setTimeout(() => fail('from a timer'), 5);
    return new Promise(() => {});
  },
  spin: () => {
    for (;;);
  },
  wait: () => new Promise(() => {}),
  hoard: () => {
    const kept = [];
    for (;;) kept.push(Buffer.alloc(1024 * 1024, 1));
  },
  'hoard-objects': () => {
    const kept = [];
    for (;;) kept.push({ number: kept.length, text: `entry ${kept.length}` });
  },
  'fill-tmp': () => {
    try {
      for (let file = 0; ; file++) writeFileSync(`/tmp/${file}`, Buffer.alloc(256 * 1024, 1));
    } catch (error) {
      return { code: error.code };
    }
  },
  flood: () => {
    const line = 'x'.repeat(1000);
    for (let count = 0; count < 50_000; count++) console.log(line);
    return 'flooded';
  },
  'flood-raw': async () => {
    const line = Buffer.from(`${'y'.repeat(999)}\n`);
    for (let count = 0; count < 20_000; count++) {
      try {
        writeSync(1, line);
      } catch (error) {
        if (error.code !== 'EAGAIN') throw error;
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    return 'flooded';
  },
  /** Writes nonsense to every socket it has, the one to the worker among them. */
  garbage: () => {
    for (const fd of ownSockets()) writeSync(fd, 'GARBAGE! '.repeat(20));
    return new Promise(() => {});
  },
  /** Announces a frame of four gigabytes, and sends a part of it. */
  'endless-frame': () => {
    for (const fd of ownSockets())
      writeSync(fd, Buffer.concat([Buffer.from('fffffff00600000001', 'hex'), Buffer.alloc(1000)]));
    return new Promise(() => {});
  },
  /** Every child starts more of its kind, without end. */
  bomb: async () => {
    const refused = new Set();
    const start = () => {
      try {
        const child = spawn(process.execPath, [fileURLToPath(new URL('lib/bomb.cjs', import.meta.url))], { stdio: 'ignore' });
        child.on('error', (error) => refused.add(error.code));
        return child.pid === undefined ? 0 : 1;
      } catch (error) {
        refused.add(error.code);
        return 0;
      }
    };
    let started = 0;
    for (let count = 0; count < 100; count++) started += start();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return { started, refused: [...refused] };
  },
};

export const handler = (deed) => deeds[deed]();
