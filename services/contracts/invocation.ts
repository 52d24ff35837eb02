/**
 * One call, on its way: what the gateway puts on a node's queue, what the worker and the instance say of it,
 * and the headers that every answer carries.
 */
import { z } from 'zod';
import { functionNameSchema } from './function.ts';

/** How the instance came to be there. */
export const startKinds = ['warm', 'prewarmed', 'cold'] as const;
export type StartKind = (typeof startKinds)[number];

/** Bodies up to this size travel inside the job; larger or unfinished ones are streamed on the reply channel. */
export const inlineBodyBytes = 64 * 1024;

/** One invocation in a job of a node's queue. Times are epoch milliseconds, with fractions. */
export interface QueuedInvocation {
  /** UUID, version 7. */
  id: string;
  /** Gateway session: an item whose session has no live reply channel is dropped, nobody waits for it. */
  session: string;
  /** Stream on the reply channel. A worker ignores an item whose (session, stream) it has already seen. */
  stream: number;
  function: string;
  version: number;
  /** When the gateway accepted the request. */
  acceptedAtMs: number;
  /** Absolute; set once, by the gateway. */
  deadlineMs: number;
  method: string;
  /** Path and query as the function sees them; begins with `/`. */
  path: string;
  /** name, value, name, value … names in lower case, hop-by-hop headers removed. */
  headers: string[];
  /** Base64 of the whole body, or null when it is streamed. */
  body: string | null;
}

/** Data of one BullMQ job: invocations that arrived while the previous add was in flight. */
export interface InvocationBatch {
  items: QueuedInvocation[];
}

export const batchJobName = 'batch';
export const maxBatchItems = 64;

/** A node's queue; the incarnation changes with every start of the worker, so a new one never meets old jobs. */
export function nodeQueueName(node: string, incarnation: string): string {
  return `invoke-${node}-${incarnation}`;
}

/** Head of a `request` frame to an instance; the rest of the payload is the body unless `streamed`. */
export interface InstanceRequest {
  id: string;
  method: string;
  path: string;
  headers: string[];
  deadlineMs: number;
  /** The body follows in `data` frames, as far as the instance grants `window`, and finishes with `end`. */
  streamed: boolean;
}

/** Head of a `head` frame; the rest of the payload is the body's beginning, or all of it when `end`. */
export const answerHeadSchema = z.object({
  status: z.int().min(200).max(599),
  headers: z.array(z.string()),
  end: z.boolean(),
  /** Milliseconds in the handler until here; the instance measures it. */
  handlerMs: z.number(),
});
export type AnswerHead = z.infer<typeof answerHeadSchema>;

/** Payload of `started`, worker → gateway: an instance has the invocation; from here on it is not repeated. */
export const startedSchema = z.object({
  start: z.enum(startKinds),
  node: z.string(),
  instance: z.string(),
  /** From arrival at the worker until an instance was free to take it; for cold starts nearly all of it is the start. */
  waitMs: z.number(),
  /** When the worker took the job off the queue (epoch ms, fractions). */
  dequeuedAtMs: z.number(),
});
export type Started = z.infer<typeof startedSchema>;

/** First frame on the reply channel, worker → gateway. */
export const workerHelloSchema = z.object({
  protocol: z.literal(1),
  node: z.string(),
  incarnation: z.string(),
  queue: z.string(),
});
export type WorkerHello = z.infer<typeof workerHelloSchema>;

/** The answer to it. */
export const gatewayHelloSchema = z.object({ protocol: z.literal(1), session: z.string() });
export type GatewayHello = z.infer<typeof gatewayHelloSchema>;

/**
 * What the gateway asks of a worker in a `request` frame on the reply channel, answered like an invocation
 * (`head` with status 200, `data` of one JSON document or of NDJSON, `end`; or `error`). `cancel` ends a followed log.
 */
export const workerQuerySchema = z.discriminatedUnion('op', [
  z.object({
    op: z.literal('logs'),
    function: functionNameSchema,
    invocation: z.string().optional(),
    /** Last so many entries; all that are kept when absent. */
    tail: z.int().min(0).optional(),
    follow: z.boolean().default(false),
  }),
  /** Answers `WorkerStatus`. */
  z.object({ op: z.literal('status') }),
  /** Starts one instance and keeps it idle: answers `{startMs}`, or the error that its start had. */
  z.object({
    op: z.literal('verify'),
    function: functionNameSchema,
    version: z.int(),
    keep: z.boolean().default(true),
  }),
  /** Ends the function's idle instances, busy ones after their invocation; with `removed`, its logs go too. */
  z.object({
    op: z.literal('retire'),
    function: functionNameSchema,
    /** Only versions below this one; all when absent. */
    below: z.int().optional(),
    removed: z.boolean().default(false),
  }),
]);
export type WorkerQuery = z.infer<typeof workerQuerySchema>;

export const instanceStatusSchema = z.object({
  id: z.string(),
  function: z.string(),
  version: z.int(),
  state: z.enum(['starting', 'idle', 'busy', 'retiring']),
  pid: z.int().nullable(),
  ageMs: z.number(),
  invocations: z.int(),
});
export const workerStatusSchema = z.object({
  node: z.string(),
  incarnation: z.string(),
  instances: z.array(instanceStatusSchema),
  waiting: z.int(),
  maxInstances: z.int(),
});
export type WorkerStatus = z.infer<typeof workerStatusSchema>;

/** One line of a function's output. */
export const logEntrySchema = z.object({
  /** Epoch milliseconds. */
  t: z.number(),
  /** Null for output outside of any invocation: while loading, or from code left running. */
  invocation: z.string().nullable(),
  version: z.int(),
  instance: z.string(),
  /** `system`: said by the platform about this instance: why it ended, where output was cut. */
  stream: z.enum(['stdout', 'stderr', 'system']),
  text: z.string(),
});
export type LogEntry = z.infer<typeof logEntrySchema>;

/** On every answer of the invoke path. */
export const answerHeaders = {
  invocation: 'X-Fn-Invocation-Id',
  version: 'X-Fn-Version',
  start: 'X-Fn-Start',
  timing: 'Server-Timing',
} as const;

/** Where the time went; also what a `deadline_exceeded` error names in `details.stage`. */
export const stages = ['queue', 'start', 'handler', 'total'] as const;
export type Stage = (typeof stages)[number];
