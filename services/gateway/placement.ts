/** Which worker gets an invocation. Pure. */

export interface Candidate {
  /** Invocations that it has from this gateway. */
  readonly inFlight: number;
}

/**
 * The better of two random candidates: nearly as even as looking at all, and without the stampede onto one worker
 * that "the least loaded" makes of slightly old figures.
 * @param random in [0, 1), as `Math.random`
 */
export function chooseWorker<T extends Candidate>(candidates: readonly T[], random: () => number): T | undefined {
  if (candidates.length < 2) return candidates[0];
  const first = Math.floor(random() * candidates.length);
  const step = 1 + Math.floor(random() * (candidates.length - 1));
  const a = candidates[first] as T;
  const b = candidates[(first + step) % candidates.length] as T;
  return b.inFlight < a.inFlight ? b : a;
}
