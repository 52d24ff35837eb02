/** A daemon to be killed: starts one container, says so, and waits. Arguments: JSON of ids, options and places. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Containers } from '../../../runtime/container/containers.ts';
import { ContainerStore } from '../../../runtime/container/store.ts';
import { ZygoteKeeper } from '../../../runtime/zygote/keeper.ts';

const { hierarchy, records, keeper, options } = JSON.parse(process.argv[2] as string);
const containers = new Containers({
  hierarchy,
  store: new ContainerStore(records),
  uidBase: 300_000,
  onExit: () => undefined,
});
const zygote = new ZygoteKeeper(keeper);
await zygote.ready();
const { pid } = await containers.start(options, zygote);
// A daemon that is killed before it has recorded a container leaves one that the next removes: another test's subject.
while (!existsSync(join(records, `${options.id}.json`))) await delay(1);
process.stdout.write(`${JSON.stringify({ pid, zygote: zygote.pid })}\n`);
setInterval(() => undefined, 60_000);
