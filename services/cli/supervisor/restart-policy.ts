/**
 * POLICY: when a process that died is started again. Pure.
 * The first restart is immediate: a platform whose process was killed has 3 s to serve again.
 */

/** What is remembered of a process between its lives. */
export interface RestartHistory {
  /** Whether any life of it ever became ready. */
  readonly everReady: boolean;
  /** Deaths in a row, each before it had been healthy for long. */
  readonly failures: number;
}

export const freshHistory: RestartHistory = { everReady: false, failures: 0 };

export type RestartDecision = { kind: 'restart'; delayMs: number } | { kind: 'give-up' };

/** After this long a process is healthy, and its earlier deaths are forgotten. */
const healthyAfterMs = 30_000;
const firstDelayMs = 100;
const maxDelayMs = 5_000;
/** A process that never once became ready will not by being asked again and again. */
const maxFirstFailures = 3;

/**
 * @param readyForMs how long the life that just ended had been ready; undefined when it never was
 * @param hopeless the process said that no other attempt can end differently
 */
export function afterExit(
  history: RestartHistory,
  readyForMs: number | undefined,
  hopeless = false,
): { history: RestartHistory; decision: RestartDecision } {
  const everReady = history.everReady || readyForMs !== undefined;
  const wasHealthy = readyForMs !== undefined && readyForMs >= healthyAfterMs;
  const failures = wasHealthy ? 1 : history.failures + 1;
  const next = { everReady, failures };
  if (!everReady && (hopeless || failures >= maxFirstFailures)) return { history: next, decision: { kind: 'give-up' } };
  return { history: next, decision: { kind: 'restart', delayMs: delayAfter(failures) } };
}

function delayAfter(failures: number): number {
  return failures <= 1 ? 0 : Math.min(maxDelayMs, firstDelayMs * 2 ** (failures - 2));
}
