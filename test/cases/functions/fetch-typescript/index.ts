import { readFileSync } from 'node:fs';
import type { Seen } from './lib/seen.ts';
import { describe } from './lib/seen.ts';

interface Context {
  readonly id: string;
  readonly function: string;
  readonly version: number;
  readonly memoryBytes: number;
  remainingTimeMs(): number;
}

export default {
  async fetch(request: Request, context: Context): Promise<Response> {
    const seen: Seen = await describe(request);
    const { id, version, memoryBytes } = context;
    const about = { id, function: context.function, version, memoryBytes, remainingTimeMs: context.remainingTimeMs() };
    const folder = readFileSync(new URL('note.txt', import.meta.url), 'utf8');
    return Response.json({ ...seen, context: about, environment: process.env, folder });
  },
};
