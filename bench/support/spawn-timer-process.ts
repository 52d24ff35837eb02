/** The measuring side of `spawn-timer.ts`: reads commands as lines of JSON, writes a `Timed` for each, ends with its stdin. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface Timed {
  /** From spawn to exit. */
  readonly ms: number;
  /** Null when a signal ended it or it could not be started. */
  readonly status: number | null;
  /** The end of its stderr, of one that failed. */
  readonly lastWords: string;
}

function time([program = '', ...args]: readonly string[]): Promise<Timed> {
  return new Promise((resolve) => {
    let lastWords = '';
    const startedAt = performance.now();
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let endedAt: number | undefined;
    child.once('exit', () => {
      endedAt = performance.now();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      lastWords = (lastWords + chunk.toString('utf8')).slice(-500);
    });
    child.once('error', (error) => resolve({ ms: 0, status: null, lastWords: error.message }));
    child.once('close', (status) => resolve({ ms: (endedAt ?? performance.now()) - startedAt, status, lastWords }));
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  const timed = await time(JSON.parse(line) as string[]);
  process.stdout.write(
    `${JSON.stringify({ ...timed, lastWords: timed.status === 0 ? '' : timed.lastWords.trim() })}\n`,
  );
}
