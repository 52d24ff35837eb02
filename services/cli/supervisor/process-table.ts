/** Which processes an installation consists of, in the order in which they start. Pure: values to values. */
import type { Config } from '../../platform/config.ts';
import type { User } from '../../platform/user.ts';

export interface ProcessSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /**
   * How it tells that it is ready: a line of JSON on the pipe `STOKE_READY_FD` (platform/lifecycle.ts), or, as Redis
   * does, in its log, and then by answering on its socket.
   */
  readonly readiness: { readonly kind: 'pipe' } | { readonly kind: 'redis'; readonly socket: string };
  /** Longest that it may take to become ready. */
  readonly readyMs: number;
  /** Longest that it may take to end after SIGTERM. */
  readonly stopMs: number;
  /** It is ended before the stages are, last one first. */
  readonly endsFirst?: boolean;
  /** Environment of its later lives, from what it said when it became ready first. */
  readonly laterEnv?: (ready: Record<string, unknown>) => Record<string, string>;
}

/** What the table is made from, apart from the configuration. */
export interface Surroundings {
  /** Root of the checkout. */
  readonly root: string;
  /** The pinned Node. */
  readonly node: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly user: User;
}

const stopMs = 10_000;

/** @returns stages: each starts when all processes of the one before are ready, and stops in the opposite order */
export function processTable(config: Config, surroundings: Surroundings): ProcessSpec[][] {
  const redis: ProcessSpec[] = [];
  if (config.redis.embedded.durable) redis.push(durableRedis(config, surroundings));
  if (config.redis.embedded.volatile) redis.push(volatileRedis(config, surroundings));
  const gateway: ProcessSpec = {
    ...service('gateway', surroundings),
    // What it has taken in, the others still answer.
    endsFirst: true,
    // With port 0 the first life chose; the later ones stay where callers know them to be.
    laterEnv: ({ host, port }) => ({
      STOKE_LISTEN: String(host).includes(':') ? `[${host}]:${port}` : `${host}:${port}`,
    }),
  };
  const stages = [redis, [service('daemon', surroundings)], [gateway], [service('worker', surroundings)]];
  return stages.filter((stage) => stage.length > 0);
}

function service(name: string, { root, node, environment }: Surroundings): ProcessSpec {
  return {
    name,
    command: node,
    args: ['--disable-warning=ExperimentalWarning', `${root}/services/${name}/main.ts`],
    env: cleanEnvironment(environment),
    readiness: { kind: 'pipe' },
    readyMs: 60_000,
    stopMs,
  };
}

/** Every write is on disk before it is acknowledged: what a caller was promised survives a power cut. */
function durableRedis(config: Config, surroundings: Surroundings): ProcessSpec {
  const persistence = ['--appendonly', 'yes', '--appendfsync', 'always'];
  return redisServer('redis-durable', config.redis.durable, `${config.home}/redis`, persistence, surroundings);
}

function volatileRedis(config: Config, surroundings: Surroundings): ProcessSpec {
  return redisServer(
    'redis-volatile',
    config.redis.volatile,
    `${config.run}/redis`,
    ['--appendonly', 'no'],
    surroundings,
  );
}

function redisServer(
  name: string,
  socket: string,
  folder: string,
  persistence: string[],
  { user, environment }: Surroundings,
): ProcessSpec {
  // Redis knows no lifeline; the kernel tells it when the supervisor is gone.
  const unprivileged = [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups', '--pdeathsig', 'TERM', '--'];
  const settings = ['--port', '0', '--unixsocket', socket, '--unixsocketperm', '700', '--dir', folder, '--save', ''];
  // A queue whose entries are evicted loses calls; BullMQ asks for this policy.
  const policy = ['--maxmemory-policy', 'noeviction', '--daemonize', 'no'];
  return {
    name,
    command: 'setpriv',
    args: [...unprivileged, 'redis-server', ...settings, ...persistence, ...policy],
    env: cleanEnvironment(environment),
    readiness: { kind: 'redis', socket },
    // It first reads all of its append-only file.
    readyMs: 600_000,
    stopMs,
  };
}

/** Nothing of the operator's shell reaches a service but what it needs: variables such as NODE_OPTIONS change Node. */
function cleanEnvironment(environment: NodeJS.ProcessEnv): Record<string, string> {
  const clean: Record<string, string> = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };
  for (const [name, value] of Object.entries(environment)) {
    const kept = ['PATH', 'HOME', 'LANG', 'TZ'].includes(name) || name.startsWith('STOKE_');
    // The pipes of the process that started this one.
    if (kept && value && name !== 'STOKE_READY_FD' && name !== 'STOKE_LIFELINE_FD') clean[name] = value;
  }
  return clean;
}
