/** Errors of the runtime as the API's. What is not listed is the daemon's own failure, and its text stays in the log. */
import { RuntimeError, type RuntimeErrorCode } from '../../runtime/index.ts';
import { type ErrorCode, StokeError } from '../contracts/errors.ts';

const codes: Partial<Record<RuntimeErrorCode, ErrorCode>> = {
  container_exists: 'container_exists',
  cgroup_exists: 'container_exists',
  container_not_found: 'container_not_found',
  start_failed: 'container_start_failed',
  zygote_failed: 'container_start_failed',
  invalid_digest: 'invalid_request',
  digest_mismatch: 'digest_mismatch',
  invalid_layer: 'invalid_layer',
  layer_too_large: 'deploy_too_large',
  layer_missing: 'layer_missing',
  image_not_found: 'image_not_found',
  image_in_use: 'image_in_use',
  storage_full: 'insufficient_storage',
};

export function toApiError(error: unknown): unknown {
  if (!(error instanceof RuntimeError)) return error;
  const code = codes[error.code];
  if (code === undefined) return error;
  return new StokeError(code, error.message, { cause: error, ...(error.details ? { details: error.details } : {}) });
}
