/** The gateway's connections to both Redis. They reconnect by themselves; while one is away its commands fail at once. */
import { Redis } from 'ioredis';
import type { Log } from '../platform/log.ts';

/** A Redis of the same machine is back within a fraction of a second, and calls wait for it. */
const longestRetryMs = 250;
/** A Redis that takes commands and does not answer is treated as one that is gone. */
const silentForMs = 2000;
const probeEveryMs = 1000;

/**
 * @param address URL, or path of a unix socket
 * @param role for the log
 */
export function connectRedis(address: string, role: string, log: Log): Redis {
  const client = new Redis(address, {
    connectionName: `stoke-gateway-${role}`,
    // Callers decide what is repeated: a command that was under way when the connection broke may have been done. They
    // have to hear of it, which `maxRetriesPerRequest: 0` brings about: without a number its promise is never settled.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (times) => Math.min(20 * times, longestRetryMs),
  });
  let reported = false;
  client.on('error', (error) => {
    if (!reported) log.warn({ err: error, role }, 'redis is away');
    reported = true;
  });
  client.on('ready', () => {
    if (reported) log.info({ role }, 'redis is back');
    reported = false;
  });
  return client;
}

/** Whether a round trip succeeds now. */
export async function answers(client: Redis, withinMs = 1000): Promise<boolean> {
  if (client.status !== 'ready') return false;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, withinMs, false);
  });
  const ping = client.ping().then(
    () => true,
    () => false,
  );
  return Promise.race([ping, late]).finally(() => clearTimeout(timer));
}

/** Breaks connections whose Redis went silent, so that those who wait learn of it. @returns a function that ends the watch */
export function watchForSilence(clients: readonly Redis[]): () => void {
  const probing = new Set<Redis>();
  const timer = setInterval(() => {
    for (const client of clients) {
      if (client.status !== 'ready' || probing.has(client)) continue;
      probing.add(client);
      answers(client, silentForMs)
        .then((alive) => {
          if (!alive && client.status === 'ready') client.disconnect(true);
        })
        .finally(() => probing.delete(client));
    }
  }, probeEveryMs);
  timer.unref();
  return () => clearInterval(timer);
}

/** Waits until the clients are connected, at most `withinMs`: a gateway also starts, and says 503, without its Redis. */
export async function connected(clients: readonly Redis[], withinMs: number): Promise<void> {
  const signal = AbortSignal.timeout(withinMs);
  await Promise.all(
    clients.map(
      (client) =>
        new Promise<void>((resolve) => {
          if (client.status === 'ready') return resolve();
          client.once('ready', () => resolve());
          signal.addEventListener('abort', () => resolve());
        }),
    ),
  );
}
