import { readFile } from 'node:fs/promises';

const settings = JSON.parse(await readFile(new URL('fn.json', import.meta.url), 'utf8'));
await new Promise((resolve) => setTimeout(resolve, 5));
const { hostname } = await import('node:os');

export const handler = () => `${settings.name} on ${hostname()}`;
