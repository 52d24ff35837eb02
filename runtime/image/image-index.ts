/**
 * Which images and tags there are: `index.json` of an OCI image layout. It is the root that decides what is referred to:
 * a manifest that is not in it is rubbish. Written as a whole, by the image store only.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { canonicalJson } from '../spec/canonical-json.ts';
import { annotations, type Descriptor, decodeDocument, indexSchema, mediaTypes } from '../spec/manifest.ts';
import { replaceDurably } from './atomic-file.ts';

export interface IndexedImage {
  readonly digest: string;
  readonly sizeBytes: number;
  readonly createdAtMs: number;
}

export interface ImageIndexState {
  /** By manifest digest. */
  readonly images: ReadonlyMap<string, IndexedImage>;
  /** Reference to manifest digest. */
  readonly tags: ReadonlyMap<string, string>;
}

/** Our own file, which grows with every version deployed: 256 MiB is about a million images. */
const maxIndexBytes = 256 * 1024 * 1024;

/** An empty one when there is none yet. @throws RuntimeError `invalid_manifest` */
export async function readImageIndex(directory: string): Promise<ImageIndexState> {
  let bytes: Buffer;
  try {
    bytes = await readFile(`${directory}/index.json`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    await writeFile(`${directory}/oci-layout`, '{"imageLayoutVersion":"1.0.0"}');
    return { images: new Map(), tags: new Map() };
  }
  return decodeState(bytes);
}

export async function writeImageIndex(directory: string, state: ImageIndexState): Promise<void> {
  await replaceDurably(`${directory}/index.json`, encodeState(state), `${directory}/partial/index.json`);
}

/** One descriptor for each tag, and one for each image that has none. */
function encodeState(state: ImageIndexState): Buffer {
  const named = new Set(state.tags.values());
  const untagged = [...state.images.values()]
    .filter(({ digest }) => !named.has(digest))
    .map((image) => descriptor(image, {}));
  const tagged = [...state.tags].map(([reference, digest]) =>
    descriptor(state.images.get(digest) as IndexedImage, { [annotations.referenceName]: reference }),
  );
  return canonicalJson({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: [...untagged, ...tagged] });
}

function descriptor(image: IndexedImage, extra: Record<string, string>): Descriptor {
  const created = new Date(image.createdAtMs).toISOString();
  return {
    mediaType: mediaTypes.manifest,
    digest: image.digest,
    size: image.sizeBytes,
    annotations: { [annotations.created]: created, ...extra },
  };
}

function decodeState(bytes: Uint8Array): ImageIndexState {
  const index = decodeDocument('index of the image store', indexSchema, bytes, maxIndexBytes);
  const images = new Map<string, IndexedImage>();
  const tags = new Map<string, string>();
  for (const { digest, size, annotations: notes = {} } of index.manifests) {
    const createdAtMs = Date.parse(notes[annotations.created] ?? '') || 0;
    if (!images.has(digest)) images.set(digest, { digest, sizeBytes: size, createdAtMs });
    const reference = notes[annotations.referenceName];
    if (reference !== undefined) tags.set(reference, digest);
  }
  return { images, tags };
}
