/**
 * An installation in a folder of its own for supervisor tests: a real Redis and real child processes that keep to the
 * contract of platform/lifecycle.ts, without containers.
 */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ProcessSpec } from '../../../services/cli/supervisor/process-table.ts';
import type { SupervisorEvent } from '../../../services/cli/supervisor/supervisor.ts';
import { type Config, parseConfig } from '../../../services/platform/config.ts';
import type { User } from '../../../services/platform/user.ts';

/** Whoever runs the tests: the supervisor's own user in these. */
export const self: User = { name: 'self', uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

export class Installation {
  readonly folder = mkdtempSync(join(tmpdir(), 'stoke-supervisor-'));
  readonly events: SupervisorEvent[] = [];
  readonly #listeners = new Set<() => void>();

  constructor() {
    chmodSync(this.folder, 0o755);
  }

  config(environment: NodeJS.ProcessEnv = {}): Config {
    return parseConfig({
      STOKE_HOME: join(this.folder, 'home'),
      STOKE_RUN: join(this.folder, 'run'),
      STOKE_LISTEN: '127.0.0.1:0',
      ...environment,
    });
  }

  readonly onEvent = (event: SupervisorEvent): void => {
    this.events.push(event);
    for (const listener of this.#listeners) listener();
  };

  /** @returns the first event, past or to come, that matches, not counting the first `after` events */
  async nextEvent(matches: (event: SupervisorEvent) => boolean, after = 0): Promise<SupervisorEvent> {
    for (;;) {
      const found = this.events.slice(after).find(matches);
      if (found) return found;
      await new Promise<void>((resolve) => {
        const listener = () => {
          this.#listeners.delete(listener);
          resolve();
        };
        this.#listeners.add(listener);
      });
    }
  }

  path(...parts: string[]): string {
    return join(this.folder, ...parts);
  }

  read(...parts: string[]): string {
    const file = this.path(...parts);
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Runs on the pinned Node and is ready when its code calls `ready(…)`; ends on SIGTERM or with the lifeline. */
export function script(name: string, code: string): ProcessSpec {
  const prelude = `
    const fs = require('node:fs');
    const log = (entry) => fs.writeSync(2, JSON.stringify({ level: 30, ...entry }) + '\\n');
    const ready = (info = {}) => fs.writeSync(3, JSON.stringify(info) + '\\n');
    const end = () => { log({ msg: 'ended ' + process.env.NAME }); process.exit(0); };
    process.on('SIGTERM', end);
    new (require('node:net').Socket)({ fd: 4 }).on('error', end).on('close', end).resume();
  `;
  return {
    name,
    command: process.execPath,
    args: ['-e', prelude + code],
    env: { PATH: process.env.PATH ?? '', NAME: name },
    readiness: { kind: 'pipe' },
    readyMs: 20_000,
    stopMs: 2_000,
  };
}

/** Answers 200 to everything, on the port of STOKE_LISTEN or a free one. */
export const fakeGateway: ProcessSpec = {
  ...script(
    'gateway',
    `const port = Number((process.env.STOKE_LISTEN ?? ':0').split(':').at(-1));
     const server = require('node:http').createServer((_, response) => response.end('{}'));
     server.on('error', (err) => { log({ level: 60, msg: err.message, err: { code: err.code, message: err.message } }); process.exit(1); });
     server.listen(port, '127.0.0.1', () => ready(server.address().port ? { host: '127.0.0.1', port: server.address().port } : {}));`,
  ),
  endsFirst: true,
  laterEnv: ({ host, port }) => ({ STOKE_LISTEN: `${host}:${port}` }),
};
