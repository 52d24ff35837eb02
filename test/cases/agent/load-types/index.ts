import { answer } from './lib.ts';
type Event = { name?: string };
export const handler = async (event: Event): Promise<string> => `${answer satisfies number} ${event.name}`;
