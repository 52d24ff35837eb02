/** A folder that is gone when its user is done, also when the process ends in between. */
import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** Makes `<parent>/<prefix>XXXXXX`, hands it to `use`, removes it whatever comes of that. */
export async function withTemporaryFolder<Result>(
  parent: string,
  prefix: string,
  use: (folder: string) => Promise<Result>,
): Promise<Result> {
  const folder = await mkdtemp(join(parent, prefix));
  // For `process.exit` somewhere else: only synchronous work is done there.
  const removeNow = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', removeNow);
  try {
    return await use(folder);
  } finally {
    process.off('exit', removeNow);
    await rm(folder, { recursive: true, force: true });
  }
}
