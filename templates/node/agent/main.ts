/**
 * The agent that runs in every container of the Node runtime: takes over the control connection, loads the function
 * from `/var/task` and serves its invocations. Loaded once by the zygote, which forks with it in memory.
 */
import { writeSync } from 'node:fs';
import type { AgentSettings } from '../../../services/contracts/agent.ts';
import { Agent } from './agent.ts';
import { ControlConnection } from './connection.ts';
import { watchExits } from './exits.ts';
import { captureOutput } from './output.ts';
import { presentProgram } from './program.ts';
import { hideWarnings } from './warnings.ts';

export { warmUp } from './warm-up.ts';

export interface ServeOptions {
  /** Connected unix stream socket to the worker, on which `hello` was sent already. */
  controlFd: number;
  settings: AgentSettings;
  /** Folder of the function; another one in tests. */
  root?: string;
}

/** Serves until the worker is gone or the function ends the process. Returns at once; the event loop does the rest. */
export function serve({ controlFd, settings, root = '/var/task' }: ServeOptions): void {
  const connection = new ControlConnection(controlFd, {
    onFrame: (frame) => agent.onFrame(frame),
    onDrained: () => agent.output.onDrained(),
    onEnd: (reason) => {
      if (reason) writeRaw(`agent: ${reason.message}\n`);
      process.exit(reason ? 1 : 0);
    },
  });
  const agent = new Agent(settings, root, connection);
  presentProgram(root, settings.entry);
  hideWarnings();
  captureOutput(agent.output);
  watchExits({
    onUncaught: (error) => agent.onUncaught(error),
    onExit: (code) => {
      agent.onExit(code);
      connection.drainNow();
    },
  });
  agent.load(() => process.exit(1));
}

/** There is nobody to tell on the connection; the descriptor of standard error may have a reader still. */
function writeRaw(text: string): void {
  try {
    writeSync(2, text);
  } catch {
    // Full or gone as well: the exit code is all that is left to say it.
  }
}
