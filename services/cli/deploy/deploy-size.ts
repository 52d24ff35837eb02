/** The size of a deploy before it is packed, and what in it is large. Pure. */
import { maxDeployBytes } from '../../contracts/management-api.ts';
import { CliError, formatSize } from '../output.ts';

export interface SizedPart {
  readonly path: string;
  readonly sizeBytes: number;
}

/** Parts named in the error. */
const namedParts = 5;
const tarBlockBytes = 512;

/** What a file takes in a tar: a header and whole blocks. */
export function tarBytes(sizeBytes: number): number {
  return tarBlockBytes + Math.ceil(sizeBytes / tarBlockBytes) * tarBlockBytes;
}

/** The largest files, packages (`node_modules/<name>`) and top folders; each file counts in one of them. */
export function largestParts(files: readonly SizedPart[]): SizedPart[] {
  const sums = new Map<string, number>();
  for (const { path, sizeBytes } of files) {
    const part = /^node_modules\/(?:@[^/]+\/)?[^/]+|^[^/]+/.exec(path)?.[0] ?? path;
    sums.set(part, (sums.get(part) ?? 0) + sizeBytes);
  }
  return [...sums]
    .map(([path, sizeBytes]) => ({ path, sizeBytes }))
    .sort((a, b) => b.sizeBytes - a.sizeBytes || (a.path < b.path ? -1 : 1))
    .slice(0, namedParts);
}

/** @throws CliError `deploy_too_large` that names the largest parts */
export function assertDeploySize(files: readonly SizedPart[]): void {
  const total = files.reduce((sum, file) => sum + tarBytes(file.sizeBytes), 0);
  if (total <= maxDeployBytes) return;
  const largest = largestParts(files);
  const lines = largest.map((part) => `${formatSize(part.sizeBytes).padStart(11)}  ${part.path}`);
  throw new CliError(`the deploy has ${formatSize(total)}; at most ${formatSize(maxDeployBytes)} are allowed`, {
    code: 'deploy_too_large',
    details: { sizeBytes: total, maxBytes: maxDeployBytes, largest },
    remedy: `the largest parts are:\n${lines.join('\n')}\nwhat the function does not need goes into .fnignore`,
  });
}
