/** What happens to supervised processes, and how it reads. Types and text only. */

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Why there never was a process, for example because the program does not exist. */
  readonly reason?: string;
}

export type ProcessEvent =
  | { event: 'started'; name: string; pid: number }
  | { event: 'ready'; name: string; pid: number; tookMs: number; info: Record<string, unknown> }
  | { event: 'exited'; name: string; pid: number | undefined; exit: Exit; expected: boolean }
  | { event: 'restarting'; name: string; delayMs: number }
  | { event: 'killed'; name: string; pid: number; reason: string }
  | { event: 'logged'; name: string; level: 'warn' | 'error'; text: string };

/** As `fn status` shows it. */
export interface ProcessStatus {
  readonly name: string;
  readonly state: 'starting' | 'ready' | 'waiting' | 'stopping' | 'stopped';
  readonly pid: number | null;
  readonly restarts: number;
  /** Since it was started; null when it does not run. */
  readonly uptimeMs: number | null;
  readonly lastExit: (Exit & { readonly at: string }) | null;
}

export function describeExit({ code, signal, reason }: Exit): string {
  if (reason) return reason;
  return signal ? `killed by ${signal}` : `exit code ${code}`;
}
