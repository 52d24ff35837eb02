/**
 * A process to be killed: opens the store in argv[2] and deploys for ever, one image after the other. A line for each
 * image that it was told is stored: its digest and the text that the image's file has. With `stall` in argv[3] it stops
 * in the middle of a layer instead, and says so.
 */
import { writeSync } from 'node:fs';
import { ImageStore } from '../../../runtime/image/image-store.ts';
import { archiveOf, file, hooks, limits, streamOf } from './scratch-store.ts';

const [directory, mode] = process.argv.slice(2) as [string, string | undefined];
const store = await ImageStore.open(directory, hooks);

/** Half of it, then nothing more. */
async function* half(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes.subarray(0, bytes.byteLength / 2);
  writeSync(1, 'stalled\n');
  await new Promise(() => setInterval(() => undefined, 60_000));
}

for (let count = 0; ; count += 1) {
  const text = `${process.pid}-${count}-`.repeat(2000);
  const { bytes, digest } = await archiveOf([file('first', text), file('second', text)]);
  await store.putLayer(digest, mode === 'stall' ? half(bytes) : streamOf(bytes), limits);
  const image = await store.createImage({ layers: [digest] });
  await store.tag(`app:${count}`, image.digest);
  writeSync(1, `${JSON.stringify({ digest: image.digest, text, tag: `app:${count}` })}\n`);
}
