/** OCI image manifests and the index of an image layout (image-spec 1.1). Pure. */
import { z } from 'zod';
import { RuntimeError } from '../errors.ts';
import { canonicalJson } from './canonical-json.ts';
import { digestPattern } from './digest.ts';

export const mediaTypes = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  layerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  layerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
} as const;

/** Keys of annotations that the specification defines and we use. */
export const annotations = {
  created: 'org.opencontainers.image.created',
  referenceName: 'org.opencontainers.image.ref.name',
  /** Manifest digest of the image that this one builds on. */
  baseDigest: 'org.opencontainers.image.base.digest',
} as const;

/** What registries accept at most, by the distribution specification. */
export const maxManifestBytes = 4 * 1024 * 1024;

/** Members that we do not know are kept: another tool's image must not change its digest by passing through. */
export const descriptorSchema = z.looseObject({
  mediaType: z.string().min(1),
  digest: z.string().regex(digestPattern, 'expected sha256:<64 hex digits>'),
  size: z.int().min(0),
  annotations: z.record(z.string(), z.string()).optional(),
});
export type Descriptor = z.infer<typeof descriptorSchema>;

export const manifestSchema = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.literal(mediaTypes.manifest).optional(),
  config: descriptorSchema,
  layers: z.array(descriptorSchema),
  annotations: z.record(z.string(), z.string()).optional(),
});
export type Manifest = z.infer<typeof manifestSchema>;

export const indexSchema = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.literal(mediaTypes.index).optional(),
  manifests: z.array(descriptorSchema),
  annotations: z.record(z.string(), z.string()).optional(),
});
export type Index = z.infer<typeof indexSchema>;

export interface ManifestParts {
  config: { digest: string; sizeBytes: number };
  /** Uncompressed tars, lowest first. */
  layers: readonly { digest: string; sizeBytes: number }[];
  annotations?: Readonly<Record<string, string>>;
}

/** The bytes of a manifest: the same parts give the same bytes. */
export function encodeManifest(parts: ManifestParts): Buffer {
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: { mediaType: mediaTypes.config, digest: parts.config.digest, size: parts.config.sizeBytes },
    layers: parts.layers.map((layer) => ({ mediaType: mediaTypes.layer, digest: layer.digest, size: layer.sizeBytes })),
    ...(parts.annotations && Object.keys(parts.annotations).length > 0
      ? { annotations: { ...parts.annotations } }
      : {}),
  };
  return canonicalJson(manifest);
}

/** @throws RuntimeError `invalid_manifest` with the member that is wrong */
export function decodeManifest(bytes: Uint8Array): Manifest {
  return decodeDocument('manifest', manifestSchema, bytes);
}

/** @throws RuntimeError `invalid_manifest` with the member that is wrong */
export function decodeIndex(bytes: Uint8Array): Index {
  return decodeDocument('image index', indexSchema, bytes);
}

/** Bytes of `what` as a value of `schema`. @throws RuntimeError `invalid_manifest` */
export function decodeDocument<T>(
  what: string,
  schema: z.ZodType<T>,
  bytes: Uint8Array,
  maxBytes = maxManifestBytes,
): T {
  if (bytes.byteLength > maxBytes) {
    throw new RuntimeError('invalid_manifest', `${what}: ${bytes.byteLength} bytes, at most ${maxBytes} are allowed`);
  }
  const parsed = schema.safeParse(parseJson(what, bytes));
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'document'}: ${issue.message}`);
  throw new RuntimeError('invalid_manifest', `${what}: ${problems.join('; ')}`);
}

function parseJson(what: string, bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new RuntimeError('invalid_manifest', `${what}: not JSON: ${(cause as Error).message}`, { cause });
  }
}
