/** Configuration from `STOKE_*`: parsed once, frozen, passed down. A wrong variable is named with what it expected. */
import { createHash } from 'node:crypto';
import { cpus, hostname, totalmem } from 'node:os';
import { z } from 'zod';
import { parseBytes } from '../contracts/quantity.ts';

const amount = (fallback: string, description: string) =>
  z
    .string()
    .default(fallback)
    .transform((text, context) => {
      const parsed = parseBytes(text);
      if ('bytes' in parsed) return parsed.bytes;
      context.addIssue({ code: 'custom', message: parsed.reason });
      return z.NEVER;
    })
    .describe(description);

const absolutePath = (fallback: string, description: string) =>
  z
    .string()
    .startsWith('/', 'expected an absolute path')
    .max(70, 'expected at most 70 characters: unix socket paths end at 107')
    .regex(/^[\w./-]+$/, 'expected letters, digits, "_", "-", "." and "/" only')
    .default(fallback)
    .transform((path) => path.replace(/\/+$/, '') || '/')
    .describe(description);

const count = (fallback: number, min: number, max: number, description: string) =>
  z.coerce.number('expected a number').int().min(min).max(max).default(fallback).describe(description);

/** `host:port`, `[v6]:port` or `:port`; port 0 takes a free one. */
const listenAddress = z
  .string()
  .default('127.0.0.1:8080')
  .transform((text, context) => {
    const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:]*)):(\d{1,5})$/.exec(text);
    const port = Number(match?.[3]);
    if (match && port <= 65535) return { host: match[1] ?? (match[2] || '127.0.0.1'), port };
    context.addIssue({ code: 'custom', message: `"${text}": expected host:port, for example 127.0.0.1:8080` });
    return z.NEVER;
  })
  .describe('Address of the gateway.');

/** Default node name: the host's, in the alphabet of identifiers. */
function defaultNode(): string {
  return (
    hostname()
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '-')
      .replace(/^-+|-+$/g, '')
      .slice(0, 40) || 'node'
  );
}

const environmentSchema = z.object({
  STOKE_HOME: absolutePath('/var/lib/stoke', 'All state.'),
  STOKE_RUN: absolutePath('/run/stoke', 'Sockets and other things that do not survive a reboot.'),
  STOKE_LISTEN: listenAddress,
  STOKE_REDIS_URL: z.string().optional().describe('Durable Redis; an embedded one when absent.'),
  STOKE_REDIS_VOLATILE_URL: z.string().optional().describe('Redis for synchronous calls; embedded when absent.'),
  STOKE_NODE: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,39}$/, 'expected 1 to 40 of a-z, 0-9 and "-"')
    .default(defaultNode),
  STOKE_MAX_BODY: amount('6Mi', 'Largest request body.'),
  STOKE_MAX_INSTANCES: count(
    Math.min(2000, Math.floor(totalmem() / (8 * 1024 * 1024))),
    1,
    100_000,
    'Instances on this node.',
  ),
  STOKE_MAX_STARTS: count(Math.max(2, cpus().length * 2), 1, 1000, 'Starts in flight on this node.'),
  STOKE_KEEP_ALIVE: count(600, 0, 86_400, 'Seconds that an idle instance is kept.'),
  STOKE_USER: z.string().default('stoke').describe('Whom the unprivileged processes run as.'),
  STOKE_UID_BASE: count(200_000, 1000, 2_000_000_000, 'First uid of containers.'),
  STOKE_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal']).default('info'),
});

export interface Config {
  readonly home: string;
  readonly run: string;
  /** Eight hex digits that tell this installation's cgroups and locks from another's. */
  readonly installation: string;
  readonly listen: { readonly host: string; readonly port: number };
  /** ioredis addresses: a URL, or the path of a unix socket. */
  readonly redis: {
    readonly durable: string;
    readonly volatile: string;
    readonly embedded: { durable: boolean; volatile: boolean };
  };
  readonly node: string;
  readonly maxBodyBytes: number;
  readonly maxInstances: number;
  readonly maxStarts: number;
  readonly keepAliveMs: number;
  readonly user: string;
  readonly uidBase: number;
  readonly logLevel: string;
  readonly sockets: {
    readonly daemon: string;
    readonly reply: string;
    readonly instances: string;
    readonly supervisor: string;
  };
}

/** @throws Error that names each wrong variable and what it expected */
export function parseConfig(environment: NodeJS.ProcessEnv): Config {
  // An empty variable is an unset one, as shells and unit files leave them.
  const given = Object.fromEntries(
    Object.entries(environment).filter(([name, value]) => name.startsWith('STOKE_') && value !== ''),
  );
  const parsed = environmentSchema.safeParse(given);
  if (!parsed.success) {
    const lines = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw new Error(`invalid configuration: ${lines.join('; ')}`);
  }
  const env = parsed.data;
  const run = env.STOKE_RUN;
  return Object.freeze({
    home: env.STOKE_HOME,
    run,
    installation: createHash('sha256').update(env.STOKE_HOME).digest('hex').slice(0, 8),
    listen: env.STOKE_LISTEN,
    redis: {
      durable: env.STOKE_REDIS_URL ?? `${run}/redis/durable.sock`,
      volatile: env.STOKE_REDIS_VOLATILE_URL ?? `${run}/redis/volatile.sock`,
      embedded: { durable: env.STOKE_REDIS_URL === undefined, volatile: env.STOKE_REDIS_VOLATILE_URL === undefined },
    },
    node: env.STOKE_NODE,
    maxBodyBytes: env.STOKE_MAX_BODY,
    maxInstances: env.STOKE_MAX_INSTANCES,
    maxStarts: env.STOKE_MAX_STARTS,
    keepAliveMs: env.STOKE_KEEP_ALIVE * 1000,
    user: env.STOKE_USER,
    uidBase: env.STOKE_UID_BASE,
    logLevel: env.STOKE_LOG_LEVEL,
    sockets: {
      daemon: `${run}/daemon.sock`,
      reply: `${run}/reply.sock`,
      instances: `${run}/instances.sock`,
      supervisor: `${run}/supervisor.sock`,
    },
  });
}
