/** Finds the handler among what the entry module exports. Pure. */
import type { InvocationContext } from './context.ts';

export type Handler =
  | { style: 'fetch'; call(request: Request, context: InvocationContext): unknown }
  | { style: 'handler'; call(event: unknown, context: InvocationContext): unknown };

/**
 * POLICY: an object with `fetch` wins, then a function called `handler`, then a default function, which is taken as
 * fetch style: frameworks export `app.fetch` or a request listener that way, and Lambda code names its `handler`.
 * CommonJS is looked at the same way: `module.exports` stands for both the module and its default export, and a
 * transpiled module has its default export one level down.
 *
 * @returns the handler, or what was found instead: `default (object with keys a, b), config (function)`
 */
export function findHandler(exports: unknown): Handler | { found: string } {
  const places = candidates(exports);
  for (const place of places) {
    if (isObject(place) && typeof place.fetch === 'function') return fetchHandler(place as { fetch: AnyFunction });
  }
  for (const place of places) {
    if (isObject(place) && typeof place.handler === 'function') return eventHandler(place as { handler: AnyFunction });
  }
  for (const place of places) {
    if (typeof place === 'function') return fetchHandler({ fetch: place as AnyFunction });
  }
  return { found: describeExports(exports) };
}

type AnyFunction = (...args: unknown[]) => unknown;

function fetchHandler(owner: { fetch: AnyFunction }): Handler {
  // The context goes in twice: as the second argument of our contract, and where worker-style apps look for
  // `waitUntil` (`c.executionCtx` in Hono). Called as a method, so that `this` is what the author expects.
  return { style: 'fetch', call: (request, context) => owner.fetch(request, context, context) };
}

function eventHandler(owner: { handler: AnyFunction }): Handler {
  return { style: 'handler', call: (event, context) => owner.handler(event, context) };
}

/** The default export, the one below it that interop makes, and the module itself. */
function candidates(exports: unknown): unknown[] {
  if (!isObject(exports)) return [];
  const first = exports.default;
  return [first, isObject(first) ? first.default : undefined, exports];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}

function describeExports(exports: unknown): string {
  if (!isObject(exports)) return describe(exports);
  const names = Object.keys(exports).filter((name) => name !== '__esModule' && name !== 'module.exports');
  if (names.length === 0) return 'no exports';
  const shown = names.slice(0, 10).map((name) => `${name} (${describe(exports[name])})`);
  return shown.join(', ') + (names.length > shown.length ? ', …' : '');
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value !== 'object') return typeof value;
  const keys = Object.keys(value);
  if (keys.length === 0) return 'object without keys';
  return `object with keys ${keys.slice(0, 10).join(', ')}${keys.length > 10 ? ', …' : ''}`;
}
