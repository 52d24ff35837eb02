/** Which function a request target means, and what path that function sees. Pure; no URL is parsed on the way to a function. */
export interface Target {
  name: string;
  /** Path and query as the function sees them, percent-encoding untouched; begins with `/`. */
  path: string;
}

export const invokePrefix = '/fn/';

const question = 63;

/**
 * `/fn/hello/a/b?x=1` → `hello`, `/a/b?x=1`; `/fn/hello?x` → `hello`, `/?x`.
 * The name is cut out, not checked: one that no function can have is simply not found.
 */
export function parseTarget(url: string): Target {
  const start = invokePrefix.length;
  let end = url.indexOf('/', start);
  const query = url.indexOf('?', start);
  if (query >= 0 && (end < 0 || query < end)) end = query;
  if (end < 0) return { name: url.slice(start), path: '/' };
  const rest = url.slice(end);
  return { name: url.slice(start, end), path: rest.charCodeAt(0) === question ? `/${rest}` : rest };
}
