/** The door for unprivileged users of images: names, manifests, archives and blobs, and nothing that needs a system call. */
export { RuntimeError, type RuntimeErrorCode } from './errors.ts';
export { type BlobInfo, type BlobLimits, BlobStore, BlobWriter } from './image/blob-store.ts';
export type { ImageStore } from './image/image-store.ts';
export { packTar, readTar, type TarEntry, type TarEntryType, type TarInput } from './image/tar.ts';
export { canonicalJson } from './spec/canonical-json.ts';
export { DigestHasher, digestHex, digestOf, parseDigest, requireDigest } from './spec/digest.ts';
export {
  decodeImageConfig,
  encodeImageConfig,
  type ImageConfig,
  type ImageExecution,
} from './spec/image-config.ts';
export {
  annotations,
  type Descriptor,
  decodeIndex,
  decodeManifest,
  encodeManifest,
  type Index,
  type Manifest,
  maxManifestBytes,
  mediaTypes,
} from './spec/manifest.ts';
export { formatReference, type ImageReference, parseReference, withDefaultTag } from './spec/reference.ts';
