/**
 * A function's settings (`fn.json`), its immutable versions, and where their records lie in the durable Redis.
 * The gateway is the only writer of the records; workers read them.
 */
import { z } from 'zod';
import { parseBytes } from './quantity.ts';

const mebibyte = 1024 * 1024;
export const minMemoryBytes = 32 * mebibyte;

function bytes(description: string, fallback: string, min: number, max = Number.MAX_SAFE_INTEGER) {
  return z
    .string()
    .default(fallback)
    .superRefine((text, context) => {
      const parsed = parseBytes(text);
      if ('reason' in parsed) context.addIssue({ code: 'custom', message: parsed.reason });
      else if (parsed.bytes < min || parsed.bytes > max)
        context.addIssue({ code: 'custom', message: `"${text}" is out of range; use ${min / mebibyte}Mi or more` });
    })
    .describe(description);
}

export const functionNameSchema = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'expected 1 to 63 of a-z, 0-9 and "-", not at either end')
  .describe('The name in the URL: /fn/<name>.');

export const runtimes = ['node24'] as const;

/** `fn.json`. All optional but the name. */
export const functionConfigSchema = z.strictObject({
  $schema: z.string().optional().describe('Where editors find this schema.'),
  name: functionNameSchema,
  runtime: z.enum(runtimes).default('node24').describe('What runs the code.'),
  entry: z
    .string()
    .min(1)
    .max(1024)
    .optional()
    .describe('The module with the handler; found by convention when absent.'),
  memory: bytes('Memory limit of one instance; no swap. At least 32Mi.', '128Mi', minMemoryBytes),
  cpu: z.number().min(0.01).max(1024).default(1).describe('CPU limit of one instance, in cores.'),
  timeout: z
    .number()
    .min(0.05)
    .max(900)
    .default(30)
    .describe('Seconds from arrival to answer; then the instance is ended.'),
  concurrency: z.int().min(1).max(1000).default(1).describe('Invocations that one instance runs at a time.'),
  maxInstances: z.int().min(1).max(2000).default(32).describe('Instances at a time; further calls wait, then get 429.'),
  env: z
    .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'expected a name of letters, digits and "_"'), z.string())
    .default({})
    .describe('Environment variables of the function.'),
  tmp: bytes('Size of /tmp; it counts against the memory limit.', '64Mi', 64 * 1024),
  exposeErrors: z.boolean().default(false).describe("Whether callers see the message of the handler's error."),
});
export type FunctionConfigInput = z.input<typeof functionConfigSchema>;
export type FunctionConfig = z.output<typeof functionConfigSchema>;

const digestSchema = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'expected sha256:<64 hex digits>');

/** Everything a worker needs to start an instance. Immutable once written. */
export const versionRecordSchema = z.strictObject({
  function: functionNameSchema,
  version: z.int().min(1),
  /** Manifest digest of the version's image in the node's store. */
  image: digestSchema,
  /** Identifies code and settings together: the same content deployed again has the same digest. */
  digest: digestSchema,
  /** Path of the entry module below /var/task. */
  entry: z.string(),
  /** Whether .ts files in the code layer hold plain JavaScript (types were stripped at deploy). */
  stripped: z.boolean(),
  config: functionConfigSchema,
  createdAtMs: z.int(),
});
export type VersionRecord = z.infer<typeof versionRecordSchema>;

export const functionRecordSchema = z.strictObject({
  name: functionNameSchema,
  /** The version that calls go to. */
  current: z.int().min(1),
  /** Ascending; the last is the newest. */
  versions: z.array(
    z.strictObject({ version: z.int(), digest: digestSchema, image: digestSchema, createdAtMs: z.int() }),
  ),
});
export type FunctionRecord = z.infer<typeof functionRecordSchema>;

/** Keys and channel in the durable Redis. The records are JSON strings. */
export const functionKeys = {
  /** Set of all function names. */
  index: 'stoke:functions',
  function: (name: string) => `stoke:function:${name}`,
  version: (name: string, version: number) => `stoke:version:${name}:${version}`,
  /** Publishes a function's name whenever its record changed or went. */
  changes: 'stoke:function-changes',
} as const;

/** `name@version`: what pools, caches and logs call a version. */
export function versionKey(name: string, version: number): string {
  return `${name}@${version}`;
}

/** The problems of a zod error as one line: `memory: "4X": unknown unit "X"; use Ki, Mi or Gi`. */
export function describeIssues(error: z.ZodError): string {
  return error.issues
    .map((issue) => `${issue.path.length > 0 ? `${issue.path.join('.')}: ` : ''}${issue.message}`)
    .join('; ');
}
