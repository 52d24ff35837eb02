/** What the gateway asks of this worker besides invocations (`WorkerQuery`). */
import type { LogEntry, WorkerQuery, WorkerStatus } from '../contracts/invocation.ts';
import type { Log } from '../platform/log.ts';
import type { LogStore } from './log-store.ts';
import type { Pool } from './pool.ts';
import type { QueryAnswer } from './query-answer.ts';
import type { VersionSource } from './version-source.ts';

/** A follower that reads more slowly than the function writes misses what is beyond this. */
const maxUnreadBytes = 1024 * 1024;

export interface QueryDeps {
  readonly node: string;
  readonly incarnation: string;
  readonly pool: Pool;
  readonly versions: VersionSource;
  readonly logs: LogStore;
  readonly log: Log;
}

/** Answers the query. Never rejects: what goes wrong is the answer. */
export async function answerQuery(deps: QueryDeps, query: WorkerQuery, answer: QueryAnswer): Promise<void> {
  try {
    switch (query.op) {
      case 'status':
        return answer.json(status(deps));
      case 'verify':
        return answer.json(await verify(deps, query));
      case 'retire':
        return answer.json(await retire(deps, query));
      case 'logs':
        return await sendLogs(deps, query, answer);
    }
  } catch (error) {
    deps.log.debug({ err: error, op: query.op }, 'query failed');
    answer.fail(error);
  }
}

function status({ node, incarnation, pool }: QueryDeps): WorkerStatus {
  const nowMs = performance.now();
  const instances: WorkerStatus['instances'] = [];
  for (const { id, record, state, pid, createdAtMs, invocations } of pool.instances()) {
    if (state === 'gone') continue;
    const ageMs = Math.round(nowMs - createdAtMs);
    instances.push({ id, function: record.function, version: record.version, state, pid, ageMs, invocations });
  }
  return { node, incarnation, instances, waiting: pool.waiting, maxInstances: pool.maxInstances };
}

async function verify(
  { pool, versions }: QueryDeps,
  query: Extract<WorkerQuery, { op: 'verify' }>,
): Promise<{ startMs: number }> {
  const record = await versions.load(query.function, query.version);
  const startedAtMs = performance.now();
  const instance = await pool.startOne(record);
  const startMs = Math.round((performance.now() - startedAtMs) * 100) / 100;
  if (!query.keep) pool.endIfIdle(instance, { kind: 'retired' });
  return { startMs };
}

async function retire(
  { pool, versions, logs }: QueryDeps,
  query: Extract<WorkerQuery, { op: 'retire' }>,
): Promise<Record<string, never>> {
  versions.forget(query.function);
  pool.retireFunction(query.function, query.below);
  if (query.removed) await logs.remove(query.function);
  return {};
}

async function sendLogs(
  { logs }: QueryDeps,
  query: Extract<WorkerQuery, { op: 'logs' }>,
  answer: QueryAnswer,
): Promise<void> {
  // Begun in the same turn as the reading: no entry is missed and none comes twice.
  const follower = query.follow ? follow(logs, query, answer) : undefined;
  try {
    answer.begin();
    for await (const lines of logs.read(query.function, query)) {
      if (answer.signal.aborted) return;
      if (lines.length > 0) await answer.write(Buffer.from(`${lines.join('\n')}\n`));
    }
    await follower?.send();
  } finally {
    follower?.stop();
  }
  answer.end();
}

/** Keeps what is appended until it is sent. `send` resolves when nobody reads any more. */
function follow(
  logs: LogStore,
  query: { function: string; invocation?: string | undefined },
  answer: QueryAnswer,
): { send(): Promise<void>; stop(): void } {
  let unread: string[] = [];
  let unreadBytes = 0;
  let missed: LogEntry | undefined;
  let wake = () => {};
  const stop = logs.follow(query.function, (entry) => {
    if (query.invocation !== undefined && entry.invocation !== query.invocation) return;
    if (unreadBytes > maxUnreadBytes) missed ??= { ...entry, stream: 'system', text: 'lines were left out here' };
    else {
      const line = `${JSON.stringify(entry)}\n`;
      unread.push(line);
      unreadBytes += line.length;
    }
    wake();
  });
  answer.signal.addEventListener('abort', () => wake(), { once: true });
  const send = async () => {
    while (!answer.signal.aborted) {
      if (unread.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      if (missed) unread.push(`${JSON.stringify(missed)}\n`);
      const text = unread.join('');
      unread = [];
      unreadBytes = 0;
      missed = undefined;
      await answer.write(Buffer.from(text));
    }
  };
  return { send, stop };
}
