/** How the supervisor learns that a process is ready: it says so, on a pipe or in its log, and Redis then answers a ping. */
import { connect } from 'node:net';
import type { Readable } from 'node:stream';

/** Calls back for each line, without its end; an unfinished last line counts when the stream ends. */
export function readLines(stream: Readable, onLine: (line: string) => void): void {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) onLine(line);
  });
  stream.on('error', () => stream.destroy()); // The peer died; its exit tells more.
  stream.on('close', () => {
    if (rest !== '') onLine(rest);
    rest = '';
  });
}

/** In the log of Redis 6.2 to 8 and of Valkey, once all data is loaded. */
export function saysRedisIsReady(line: string): boolean {
  return /ready to accept connections/i.test(line);
}

/** @throws Error with what it answered instead */
export function pingRedis(socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path: socketPath });
    socket.setTimeout(5_000, () => socket.destroy(new Error('no answer to PING for 5 s')));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('closed the connection on PING')));
    socket.once('data', (answer) => {
      if (answer.toString('latin1').startsWith('+PONG')) resolve();
      else reject(new Error(`answered PING with ${JSON.stringify(answer.toString('latin1'))}`));
      socket.destroy();
    });
    socket.write('PING\r\n');
  });
}
