/** Every error that the runtime throws on purpose: a closed set of codes. Zod-free, because the zygote loads it too. */

export type RuntimeErrorCode =
  // cgroup/, container/, zygote/
  | 'cgroup_unavailable'
  | 'cgroup_exists'
  | 'cgroup_busy'
  | 'container_exists'
  | 'container_not_found'
  | 'start_failed'
  | 'zygote_failed'
  // spec/ and image/
  | 'invalid_digest'
  | 'invalid_reference'
  | 'invalid_manifest'
  | 'digest_mismatch'
  | 'invalid_layer'
  | 'layer_too_large'
  | 'layer_missing'
  | 'blob_missing'
  | 'image_not_found'
  | 'image_in_use'
  | 'storage_full'
  | 'base_image_failed';

export class RuntimeError extends Error {
  override readonly name = 'RuntimeError';
  readonly code: RuntimeErrorCode;
  readonly details: Record<string, unknown> | undefined;

  constructor(
    code: RuntimeErrorCode,
    message: string,
    options: { details?: Record<string, unknown>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details;
  }
}
