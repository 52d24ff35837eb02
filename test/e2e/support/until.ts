/** Waiting for what nobody announces. */
import { setTimeout as delay } from 'node:timers/promises';

const lookAgainMs = 20;

/**
 * Looks until what it sees is as wanted.
 * @param what a sentence, for the message when it does not become true
 * @returns the value that was as wanted
 * @throws Error with the last value after `boundMs`
 */
export async function until<T>(
  what: string,
  look: () => T | Promise<T>,
  wanted: (value: T) => boolean,
  boundMs = 10_000,
): Promise<T> {
  const deadline = performance.now() + boundMs;
  for (;;) {
    const value = await look();
    if (wanted(value)) return value;
    if (performance.now() > deadline) {
      throw new Error(`after ${boundMs} ms it is not so that ${what}: ${JSON.stringify(value, undefined, 2)}`);
    }
    await delay(lookAgainMs);
  }
}
