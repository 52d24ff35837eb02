/**
 * Steady load: loops that call one after the other, each call with a number of its own, from a client process's view.
 * Keeps what became of every call.
 */
import { Agent, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

export interface Outcome {
  readonly key: number;
  /** Milliseconds on the monotonic clock of this process. */
  readonly startedAt: number;
  readonly endedAt: number;
  /** Null when there was no answer, or no whole one. */
  readonly status: number | null;
  /** Body of the answer, or the connection's error. */
  readonly text: string;
}

/** Every call has its end within this: an answer or an error. */
const answerWithinMs = 20_000;
/** A caller that was refused comes again, but not at once. */
const pauseAfterErrorMs = 10;

export class Load {
  readonly outcomes: Outcome[] = [];
  readonly #url: (key: number) => string;
  readonly #loops: Promise<void>[];
  readonly #agent = new Agent({ keepAlive: true });
  #lastKey = 0;
  #stopped = false;

  /** Begins at once. @param loops how many calls are under way at any time */
  constructor(loops: number, url: (key: number) => string) {
    this.#url = url;
    this.#loops = Array.from({ length: loops }, () => this.#loop());
  }

  /** Calls so far that began after `time` and were answered with 200. */
  servedSince(time: number): Outcome[] {
    return this.outcomes.filter(({ startedAt, status }) => startedAt >= time && status === 200);
  }

  /** Begins no new call, and waits for those under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
    this.#agent.destroy();
  }

  async #loop(): Promise<void> {
    while (!this.#stopped) {
      const outcome = await this.#call(++this.#lastKey);
      this.outcomes.push(outcome);
      if (outcome.status === null || outcome.status >= 500) await delay(pauseAfterErrorMs);
    }
  }

  #call(key: number): Promise<Outcome> {
    const startedAt = performance.now();
    return new Promise((resolve) => {
      const end = (status: number | null, text: string) =>
        resolve({ key, startedAt, endedAt: performance.now(), status, text });
      const outgoing = request(this.#url(key), { agent: this.#agent, method: 'POST', timeout: answerWithinMs });
      outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${answerWithinMs} ms`)));
      outgoing.on('error', (error) => end(null, error.message));
      outgoing.on('response', (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        answer.on('end', () => end(answer.statusCode as number, text));
        answer.on('error', (error) => end(null, error.message));
      });
      outgoing.end();
    });
  }
}
