/**
 * An agent for tests: runs in a container what the test sends it, and answers with the result. One JSON value per line,
 * both ways. It shows what any code of a user could do there.
 */
import { createRequire } from 'node:module';
import { Socket } from 'node:net';

const require = createRequire(import.meta.url);
const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as new (
  ...parameters: string[]
) => (...values: unknown[]) => Promise<unknown>;

export function warmUp(): void {
  // Loaded here, as a real agent does, so that children find them without a file system.
  for (const name of ['child_process', 'crypto', 'dgram', 'http', 'net', 'os', 'worker_threads', 'zlib']) require(name);
  new Request('http://localhost/');
}

export function serve({ controlFd }: { controlFd: number }): void {
  const socket = new Socket({ fd: controlFd });
  let text = '';
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    text += chunk;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const { id, code } = JSON.parse(text.slice(0, end)) as { id: number; code: string };
      text = text.slice(end + 1);
      new AsyncFunction('require', code)(require).then(
        (value) => socket.write(`${JSON.stringify({ id, value })}\n`),
        (error: NodeJS.ErrnoException) =>
          socket.write(`${JSON.stringify({ id, error: error.code ?? String(error) })}\n`),
      );
    }
  });
  socket.on('close', () => process.exit(0));
}
