/**
 * The environment of every process that a benchmark starts. NODE_EXTRA_CA_CERTS adds 30 ms to each start of Node, NODE_OPTIONS
 * may add anything: of the operator's variables only what programs need to be found passes.
 */
import { dirname } from 'node:path';

const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export function cleanEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  return { PATH: `${dirname(process.execPath)}:${process.env.PATH ?? systemPath}`, LC_ALL: 'C', ...extra };
}
