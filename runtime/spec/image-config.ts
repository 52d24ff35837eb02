/** OCI image configurations (image-spec 1.1): how a container of an image is to be run, and what its layers hold. Pure. */
import { z } from 'zod';
import { canonicalJson } from './canonical-json.ts';
import { digestPattern } from './digest.ts';
import { decodeDocument } from './manifest.ts';

const strings = z.array(z.string());
/** A set as Go serialises it: `{"8080/tcp": {}}`. */
const nameSet = z.record(z.string(), z.looseObject({}));

/** Tools write `null` for what is not set; here it is absent. */
const optional = <T extends z.ZodType>(schema: T) =>
  schema.nullish().transform((value): z.output<T> | undefined => value ?? undefined);

/** `config` of an image configuration. */
export const executionSchema = z.looseObject({
  /** `user`, `uid`, `user:group` or `uid:gid`. */
  User: optional(z.string()),
  /** `NAME=value`. */
  Env: optional(strings),
  Entrypoint: optional(strings),
  Cmd: optional(strings),
  WorkingDir: optional(z.string()),
  Labels: optional(z.record(z.string(), z.string())),
  ExposedPorts: optional(nameSet),
  Volumes: optional(nameSet),
  StopSignal: optional(z.string()),
});
export type ImageExecution = Partial<z.infer<typeof executionSchema>>;

const historySchema = z.looseObject({
  created: z.string().optional(),
  created_by: z.string().optional(),
  comment: z.string().optional(),
  empty_layer: z.boolean().optional(),
});

export const imageConfigSchema = z.looseObject({
  created: z.string().optional(),
  author: z.string().optional(),
  architecture: z.string().min(1),
  os: z.string().min(1),
  variant: z.string().optional(),
  config: optional(executionSchema),
  rootfs: z.looseObject({
    type: z.literal('layers'),
    /** Digests of the uncompressed layers, lowest first. */
    diff_ids: z.array(z.string().regex(digestPattern, 'expected sha256:<64 hex digits>')),
  }),
  history: z.array(historySchema).optional(),
});
export type ImageConfig = z.infer<typeof imageConfigSchema>;

export interface ImageConfigParts {
  /** What the image builds on, if anything. */
  base?: ImageConfig | undefined;
  /** Layers above the base's, lowest first, by the digests of their uncompressed tars. */
  diffIds: readonly string[];
  labels?: Readonly<Record<string, string>>;
  /** Replaces members of the base's, whole: an `Env` here is all of the environment. */
  execution?: ImageExecution;
  /** Of the machine when there is no base, in Go's words: `amd64`, `arm64`. */
  architecture: string;
}

/** The configuration of an image over its base. It has no dates, so that the same parts give the same digest. */
export function composeImageConfig(parts: ImageConfigParts): ImageConfig {
  const inherited: ImageExecution = parts.base?.config ?? {};
  const labels = { ...inherited.Labels, ...parts.execution?.Labels, ...parts.labels };
  const execution: ImageExecution = { ...inherited, ...parts.execution };
  if (Object.keys(labels).length > 0) execution.Labels = labels;
  const history = parts.base?.history;
  return {
    architecture: parts.base?.architecture ?? parts.architecture,
    os: parts.base?.os ?? 'linux',
    ...(parts.base?.variant === undefined ? {} : { variant: parts.base.variant }),
    config: execution as ImageConfig['config'],
    rootfs: { type: 'layers', diff_ids: [...(parts.base?.rootfs.diff_ids ?? []), ...parts.diffIds] },
    // One entry per layer or none at all: tools pair history with layers by position.
    ...(history ? { history: [...history, ...parts.diffIds.map(() => ({ created_by: 'stoke' }))] } : {}),
  };
}

/** The bytes of a configuration: equal values have equal bytes. */
export function encodeImageConfig(config: ImageConfig): Buffer {
  return canonicalJson(config);
}

/** @throws RuntimeError `invalid_manifest` with the member that is wrong */
export function decodeImageConfig(bytes: Uint8Array): ImageConfig {
  return decodeDocument('image config', imageConfigSchema, bytes);
}

/** Go's word for this machine's architecture. */
export function architectureOf(nodeArchitecture: string): string {
  return { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' }[nodeArchitecture] ?? nodeArchitecture;
}
