/** What every call of a handler gets beside the request. */
export interface FnContext {
  /** The invocation's id: `fn logs <name> --invocation <id>`. */
  readonly id: string;
  readonly function: string;
  readonly version: number;
  readonly memoryBytes: number;
  /** Epoch milliseconds at which the instance is ended. */
  readonly deadlineMs: number;
  readonly remainingTimeMs: () => number;
  /** Aborted when the caller goes away, or shortly before the deadline. */
  readonly signal: AbortSignal;
  /** Keeps the instance for this call until `promise` is settled; the answer does not wait for it. */
  readonly waitUntil: (promise: unknown) => void;
}
