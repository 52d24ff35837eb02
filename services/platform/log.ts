/** Structured logs of a service: JSON lines on stderr, for the supervisor or the operator's collector to read. */
import { destination, type Logger, pino } from 'pino';

export type Log = Logger;

export function createLog(service: string, level: string): Log {
  // Synchronous: the last line before a crash is the one that matters, and nothing is logged per invocation.
  return pino(
    { base: { service }, level, timestamp: pino.stdTimeFunctions.isoTime },
    destination({ fd: 2, sync: true }),
  );
}
