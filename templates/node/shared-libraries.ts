/** Which shared libraries a program of this machine needs, and where they belong in an image whose /lib is /usr/lib. */
import { execFile } from 'node:child_process';
import { access, realpath } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { promisify } from 'node:util';
import { RuntimeError } from '../../runtime/oci.ts';

const run = promisify(execFile);

export interface SharedLibrary {
  /** File on this machine, links resolved. */
  readonly source: string;
  /** Path in the image, relative to its root. */
  readonly target: string;
}

/**
 * Loaded by glibc at run time, so no program names them: users and groups from files, names from DNS.
 * From glibc 2.34 on most of it is in libc itself, and those missing here are not missed.
 */
const loadedByLibc = ['libnss_files.so.2', 'libnss_dns.so.2', 'libresolv.so.2'];

/** Libraries of a dynamically linked program, its loader among them. @throws RuntimeError `base_image_failed` */
export async function findSharedLibraries(program: string): Promise<SharedLibrary[]> {
  const paths = parseLdd(await listDependencies(program), program);
  const libc = paths.find((path) => basename(path) === 'libc.so.6');
  if (libc === undefined) {
    throw new RuntimeError('base_image_failed', `${program} does not use glibc; install a Node built for it`);
  }
  const directory = dirname(libc);
  const present = await Promise.all(loadedByLibc.map((name) => isThere(`${directory}/${name}`)));
  const extra = loadedByLibc.filter((_name, index) => present[index]).map((name) => `${directory}/${name}`);
  const libraries = await Promise.all(
    [...new Set([...paths, ...extra])].map(async (path) => ({
      source: await realpath(path),
      target: targetInImage(path, directory),
    })),
  );
  return libraries.sort((a, b) => (a.target < b.target ? -1 : 1));
}

async function listDependencies(program: string): Promise<string> {
  try {
    // A clean environment: LD_PRELOAD and LD_LIBRARY_PATH of the caller must not get into the image.
    return (await run('ldd', [program], { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' } })).stdout;
  } catch (cause) {
    throw new RuntimeError('base_image_failed', `ldd ${program}: ${(cause as Error).message}`, { cause });
  }
}

/**
 * The paths in ldd's output: `libc.so.6 => /lib/…/libc.so.6 (0x…)`, and `/lib64/ld-linux-x86-64.so.2 (0x…)` for the loader.
 * @throws RuntimeError `base_image_failed` for a library that is not on this machine
 */
export function parseLdd(output: string, program: string): string[] {
  const paths: string[] = [];
  for (const line of output.split('\n')) {
    const absent = /^\s*(\S+) => not found/.exec(line);
    if (absent) {
      throw new RuntimeError('base_image_failed', `${program} needs ${absent[1]}, which is not installed`);
    }
    const path = /^\s*(?:\S+ => )?(\/\S+) \(0x[0-9a-f]+\)$/.exec(line)?.[1];
    if (path !== undefined) paths.push(path);
  }
  return paths;
}

/** Directories that every glibc loader searches, or where programs expect the loader itself. */
const standardDirectory = /^(?:usr\/)?(lib(?:64|32)?(?:\/[a-z0-9_]+-linux-[a-z0-9]+)?)$/;

/**
 * Keeps a library where it is, below /usr; one from an unusual place goes beside libc, where the loader finds it
 * without a cache or a search path.
 */
export function targetInImage(path: string, libcDirectory: string): string {
  const place = standardDirectory.exec(dirname(path).slice(1))?.[1];
  const fallback = standardDirectory.exec(libcDirectory.slice(1))?.[1] ?? 'lib';
  return `usr/${place ?? fallback}/${basename(path)}`;
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
