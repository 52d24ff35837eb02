/** What a supervised process writes, read: pino's JSON lines, Redis's own form, and anything else. Pure. */

export interface LogLine {
  /** Warnings and worse are also for the terminal. */
  readonly level: 'info' | 'warn' | 'error';
  readonly text: string;
  /** Of the error that was logged, for example `EADDRINUSE`. */
  readonly code?: string;
}

const redisLine = /^\d+:[A-Z] \d{1,2} \w{3} \d{4} [\d:.]+ ([-.*#]) (.*)$/;

export function readLogLine(line: string): LogLine {
  const redis = redisLine.exec(line);
  if (redis) return { level: redis[1] === '#' ? 'warn' : 'info', text: redis[2] ?? '' };
  const entry = parseObject(line);
  if (entry) return readEntry(entry);
  // Not from the service's logger: V8's or the loader's last words, which nobody writes without need.
  return { level: 'error', text: line };
}

function readEntry(entry: Record<string, unknown>): LogLine {
  const number = Number(entry.level);
  const level = number >= 50 ? 'error' : number >= 40 ? 'warn' : 'info';
  const error = isObject(entry.err) ? entry.err : undefined;
  const message = typeof entry.msg === 'string' ? entry.msg : '';
  const cause = typeof error?.message === 'string' && !message.includes(error.message) ? error.message : '';
  // pino writes the causes of an error into its message, which then may begin with what was said.
  const text = cause.startsWith(message) ? cause : [message, cause].filter((part) => part !== '').join(': ');
  return typeof error?.code === 'string' ? { level, text, code: error.code } : { level, text };
}

/** @returns undefined when the line is not a JSON object */
export function parseObject(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined; // Half a line, or text in braces: shown as it is.
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
