/** How much output is kept. The holder of a budget is its only writer. */

/** Kept of one invocation, and of an instance outside of invocations in each `strayPeriodMs`. */
export const outputBytes = 256 * 1024;
const strayPeriodMs = 10_000;

export class OutputBudget {
  #left = outputBytes;
  #renewedAtMs: number;
  readonly #renewing: boolean;

  /** @param renewing whether it is full again every ten seconds (output outside of invocations) */
  constructor(renewing = false, nowMs = Date.now()) {
    this.#renewing = renewing;
    this.#renewedAtMs = nowMs;
  }

  /** `cut` is said once: from here on it is dropped. */
  spend(bytes: number, nowMs = Date.now()): 'keep' | 'cut' | 'drop' {
    if (this.#renewing && nowMs - this.#renewedAtMs >= strayPeriodMs) {
      this.#left = outputBytes;
      this.#renewedAtMs = nowMs;
    }
    if (this.#left < 0) return 'drop';
    this.#left -= bytes;
    return this.#left < 0 ? 'cut' : 'keep';
  }
}
