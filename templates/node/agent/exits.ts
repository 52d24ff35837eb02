/** The ways in which a function can end its own process, and what is said before it does. */

export interface ExitHooks {
  /** An exception or a rejection that nothing handled. The process ends when this returns. */
  onUncaught(error: unknown): void;
  /** The process is about to end: last words must be written before this returns. */
  onExit(code: number): void;
}

/**
 * An unhandled rejection comes as an uncaught exception, which is what Node makes of it without a listener. A function
 * with a listener of its own for either has taken the decision; then this does nothing.
 */
export function watchExits(hooks: ExitHooks): void {
  const listener = (error: unknown) => {
    if (process.listenerCount('uncaughtException') > expected) return;
    hooks.onUncaught(error);
    process.exit(1);
  };
  // First, before the one of the runtime, which would end the process without last words.
  process.prependListener('uncaughtException', listener);
  const expected = process.listenerCount('uncaughtException');
  process.on('exit', (code) => hooks.onExit(Number(code ?? 0)));
}
