/** The ceiling of warm calls: a bare Node HTTP server, in a process of its own, without platform and walls. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { cleanEnvironment } from './clean-environment.ts';

export const answerText = 'hello\n';
export const answerType = 'text/plain;charset=UTF-8';

export interface BareServer extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
}

const program = join(import.meta.dirname, 'bare-server-process.mjs');

/** @param text what it answers */
export async function startBareServer(text = answerText): Promise<BareServer> {
  const child = spawn(process.execPath, [program, text, answerType], {
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
