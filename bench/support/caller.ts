/**
 * A client that measures single calls: one connection, kept open, so that no connect is in the figures. Its own share of
 * them (node:http, about 0.1 ms) is.
 */
import { Agent, get } from 'node:http';
import { answerHeaders } from '../../services/contracts/invocation.ts';

export interface Called {
  readonly status: number;
  readonly text: string;
  /** From the request until all of the answer is here. */
  readonly ms: number;
  /** `X-Fn-Start`; undefined from a server that is no gateway. */
  readonly start: string | undefined;
  /** Milliseconds by stage, from `Server-Timing`. */
  readonly stages: Readonly<Record<string, number>>;
}

export class Caller implements Disposable {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  call(url: string): Promise<Called> {
    return new Promise((resolve, reject) => {
      const startedAt = performance.now();
      get(url, { agent: this.#agent }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('error', reject).on('end', () => {
          const ms = performance.now() - startedAt;
          const header = (name: string) => response.headers[name.toLowerCase()] as string | undefined;
          resolve({
            status: response.statusCode ?? 0,
            text,
            ms,
            start: header(answerHeaders.start),
            stages: parseServerTiming(header(answerHeaders.timing) ?? ''),
          });
        });
      }).on('error', reject);
    });
  }

  /** As `call`. @throws Error for any other answer than `200` */
  async callOk(url: string): Promise<Called> {
    const called = await this.call(url);
    if (called.status !== 200) throw new Error(`GET ${url} answered ${called.status}: ${called.text}`);
    return called;
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

/** `queue;dur=0.4, total;dur=2.1` */
function parseServerTiming(header: string): Record<string, number> {
  const stages: Record<string, number> = {};
  for (const [, stage = '', ms] of header.matchAll(/([\w-]+);dur=([\d.]+)/g)) stages[stage] = Number(ms);
  return stages;
}
