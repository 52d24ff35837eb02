/**
 * The recipe of `stoke/node:24`: an image assembled on this machine, without a network, from the pinned Node binary,
 * the shared libraries it needs, the machine's CA certificates and a minimal /etc. Its one layer is planned as a list of
 * entries; the image carries the hash of that list as a label, so that an unchanged machine makes it once.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, realpath, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { canonicalJson, digestOf, type ImageStore, packTar, RuntimeError, type TarInput } from '../../runtime/oci.ts';
import { findSharedLibraries } from './shared-libraries.ts';

export const nodeBaseReference = 'stoke/node:24';

/** Hash of all that the image is made from. */
const inputsLabel = 'dev.stoke.base.inputs';
const nodeVersionLabel = 'dev.stoke.base.node';

export interface NodeBaseOptions {
  /** The Node binary to put in; that of this process if absent. */
  nodePath?: string;
  /** The tag to give it. */
  reference?: string;
}

/** Every entry has this time, so that the same content has the same digest: 2024-01-01. */
const mtimeMs = 1_704_067_200_000;
const limits = { bytes: 1024 * 1024 * 1024, entries: 1000 };

/** Where distributions keep the bundle of CA certificates: Debian, Alpine and Arch; Fedora; openSUSE. */
const certificateBundles = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
];
const certificatePath = 'etc/ssl/certs/ca-certificates.crt';

/** An entry and what identifies its content, for the hash of the inputs. */
interface PlannedEntry {
  readonly entry: TarInput;
  readonly content: string;
}

/**
 * Makes the image and tags it, unless the tag has an image of the same inputs.
 * @returns the manifest digest
 * @throws RuntimeError `base_image_failed` saying what is missing on this machine
 */
export async function ensureNodeBaseImage(store: ImageStore, options: NodeBaseOptions = {}): Promise<string> {
  const reference = options.reference ?? nodeBaseReference;
  const nodePath = await realpath(options.nodePath ?? process.execPath);
  const nodeVersion = await versionOf(nodePath);
  const plan = await planNodeBase(nodePath, nodeVersion);
  const inputs = hashPlan(plan);

  const existing = store.lookup(reference);
  if (existing !== undefined && (await store.resolve(existing)).labels[inputsLabel] === inputs) return existing;

  const layer = await store.addLayer(packTar(plan.map(({ entry }) => entry)), limits);
  const { digest } = await store.createImage({
    layers: [layer.digest],
    labels: { [inputsLabel]: inputs, [nodeVersionLabel]: nodeVersion },
    config: {
      Env: [
        'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        ...(plan.some(({ entry }) => entry.path === certificatePath) ? [`SSL_CERT_FILE=/${certificatePath}`] : []),
        `NODE_VERSION=${nodeVersion}`,
      ],
      WorkingDir: '/var/task',
      Cmd: ['/usr/local/bin/node'],
    },
  });
  await store.tag(reference, digest);
  return digest;
}

/** The layer's entries, parents first. Large files are named here and read when they are packed. */
async function planNodeBase(nodePath: string, nodeVersion: string): Promise<PlannedEntry[]> {
  const libraries = await findSharedLibraries(nodePath);
  const files = [
    // Version and length, for hashing 120 MB at every start would take longer than the rest of the start.
    await fileEntry('usr/local/bin/node', nodePath, 0o755, `node ${nodeVersion} ${process.arch}`),
    ...(await Promise.all(libraries.map(({ source, target }) => fileEntry(target, source, 0o755)))),
    ...(await certificateEntries()),
    ...Object.entries(etcFiles(nodeVersion)).map(([path, text]) => textEntry(path, text)),
  ];
  const directories = new Map<string, number>(fixedDirectories);
  for (const { entry } of files) for (const parent of parentsOf(entry.path)) addMissing(directories, parent, 0o755);
  return [
    ...[...directories].sort(byPath).map(([path, mode]) => planned({ type: 'directory', path, mode, mtimeMs })),
    ...linksIntoUsr.map(([path, linkname]) =>
      planned({ type: 'symlink' as const, path, linkname, mode: 0o777, mtimeMs }),
    ),
    ...files,
  ];
}

const fixedDirectories: [string, number][] = [
  ['dev', 0o755],
  ['etc', 0o755],
  ['home', 0o755],
  ['home/function', 0o755],
  ['proc', 0o555],
  ['root', 0o700],
  ['run', 0o755],
  ['sys', 0o555],
  ['tmp', 0o1777],
  ['usr', 0o755],
  ['usr/bin', 0o755],
  ['usr/lib', 0o755],
  ['usr/lib64', 0o755],
  ['usr/local', 0o755],
  ['usr/local/bin', 0o755],
  ['usr/sbin', 0o755],
  ['var', 0o755],
  ['var/task', 0o755],
  ['var/tmp', 0o1777],
];

const linksIntoUsr: [string, string][] = [
  ['bin', 'usr/bin'],
  ['lib', 'usr/lib'],
  ['lib64', 'usr/lib64'],
  ['sbin', 'usr/sbin'],
  ['var/run', '../run'],
];

function etcFiles(nodeVersion: string): Record<string, string> {
  return {
    'etc/group': 'root:x:0:\nfunction:x:65532:\nnogroup:x:65534:\n',
    'etc/hostname': 'stoke\n',
    'etc/hosts': '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n',
    'etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n',
    'etc/os-release': `ID=stoke\nNAME="Stoke"\nPRETTY_NAME="Stoke, Node ${nodeVersion}"\n`,
    'etc/passwd': [
      'root:x:0:0:root:/root:/sbin/nologin',
      'function:x:65532:65532:function:/home/function:/sbin/nologin',
      'nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin',
      '',
    ].join('\n'),
    // The container's network fills it in.
    'etc/resolv.conf': '',
  };
}

function textEntry(path: string, text: string): PlannedEntry {
  return planned({ type: 'file', path, mode: 0o644, mtimeMs, body: Buffer.from(text) }, digestOf(text));
}

async function fileEntry(path: string, source: string, mode: number, content?: string): Promise<PlannedEntry> {
  const sizeBytes = (await stat(source)).size;
  const body = () => createReadStream(source, { highWaterMark: 512 * 1024 });
  return planned({ type: 'file', path, mode, mtimeMs, sizeBytes, body }, content ?? digestOf(await readFile(source)));
}

async function certificateEntries(): Promise<PlannedEntry[]> {
  for (const bundle of certificateBundles) {
    try {
      return [await fileEntry(certificatePath, await realpath(bundle), 0o644)];
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  // Without a bundle Node uses the one that it brings along.
  return [];
}

function planned(entry: TarInput, content = ''): PlannedEntry {
  return { entry, content };
}

/** Of everything that decides about the layer's bytes. */
function hashPlan(plan: readonly PlannedEntry[]): string {
  const hash = createHash('sha256');
  for (const { entry, content } of plan) {
    const { path, type, mode } = entry;
    const sizeBytes = 'sizeBytes' in entry ? entry.sizeBytes : undefined;
    const linkname = 'linkname' in entry ? entry.linkname : undefined;
    hash.update(canonicalJson({ path, type, mode, sizeBytes, linkname, content, mtimeMs }));
  }
  return hash.digest('hex');
}

function parentsOf(path: string): string[] {
  const components = path.split('/');
  return components.slice(1).map((_component, index) => components.slice(0, index + 1).join('/'));
}

function addMissing(directories: Map<string, number>, path: string, mode: number): void {
  if (!directories.has(path)) directories.set(path, mode);
}

function byPath([a]: [string, number], [b]: [string, number]): number {
  return a < b ? -1 : 1;
}

async function versionOf(nodePath: string): Promise<string> {
  if (nodePath === (await realpath(process.execPath))) return process.versions.node;
  try {
    const { stdout } = await promisify(execFile)(nodePath, ['--version'], { env: {} });
    return stdout.trim().replace(/^v/, '');
  } catch (cause) {
    throw new RuntimeError('base_image_failed', `${nodePath} --version: ${(cause as Error).message}`, { cause });
  }
}
