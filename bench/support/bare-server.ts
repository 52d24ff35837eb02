/**
 * The ceiling of warm calls: a bare Node HTTP server, in a process of its own, without platform and walls.
 * Run as a program it serves until its stdin ends; imported it starts that program.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { cleanEnvironment } from './clean-environment.ts';

export const answerText = 'hello\n';
export const answerType = 'text/plain;charset=UTF-8';

export interface BareServer extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
}

/** @param text what it answers */
export async function startBareServer(text = answerText): Promise<BareServer> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', import.meta.filename, text], {
    env: cleanEnvironment(),
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const [port] = (await Promise.race([
    once(createInterface({ input: child.stdout }), 'line'),
    exited.then(([code]) => Promise.reject(new Error(`the bare server ended: ${code}`))),
  ])) as [string];
  return {
    url: `http://127.0.0.1:${port}/`,
    pid: child.pid as number,
    [Symbol.asyncDispose]: async () => {
      child.stdin.end();
      await exited;
    },
  };
}

function serve(text: string): void {
  const server = createServer((_, response) => {
    response.writeHead(200, { 'content-type': answerType, 'content-length': Buffer.byteLength(text) }).end(text);
  });
  server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
  process.stdin.resume().on('end', () => process.exit(0));
}

if (import.meta.main) serve(process.argv[2] ?? answerText);
