/** How many calls of a function may be under way: those that can run, and a bounded number that wait. One writer: the invoke path. */

const leastWaiting = 100;
const mostWaiting = 2000;

export interface ConcurrencyConfig {
  maxInstances: number;
  concurrency: number;
}

/**
 * Calls of one function at a time: running plus waiting.
 * POLICY: ten times as many wait as run, so that a burst passes; never more than 2,000, because a caller far back in
 * such a line is better served by a 429 now than by a 504 later.
 */
export function admissionLimit(config: ConcurrencyConfig): number {
  const running = config.maxInstances * config.concurrency;
  return running + Math.min(mostWaiting, Math.max(leastWaiting, running * 10));
}

/** Calls under way of one function; outlives the function's versions. */
export interface Gauge {
  inFlight: number;
}

export class Admission {
  readonly #gauges = new Map<string, Gauge>();
  #total = 0;

  get inFlight(): number {
    return this.#total;
  }

  /** @returns the gauge to `leave` when the call is over, or undefined when the function has `limit` calls under way */
  enter(name: string, limit: number): Gauge | undefined {
    let gauge = this.#gauges.get(name);
    if (!gauge) {
      gauge = { inFlight: 0 };
      this.#gauges.set(name, gauge);
    }
    if (gauge.inFlight >= limit) return undefined;
    gauge.inFlight++;
    this.#total++;
    return gauge;
  }

  leave(gauge: Gauge): void {
    gauge.inFlight--;
    this.#total--;
  }

  /** Forgets a removed function once its last call is over. */
  forget(name: string): void {
    if (this.#gauges.get(name)?.inFlight === 0) this.#gauges.delete(name);
  }
}
