/** What the names in a layer's archive mean: a path below the root, a whiteout, or something to refuse. Pure. */
import { RuntimeError } from '../errors.ts';

/** OCI image-spec, layer: `.wh.<name>` hides `<name>` of the layers below; `.wh..wh..opq` hides all that is in its directory. */
const whiteoutPrefix = '.wh.';
const opaqueMarker = '.wh..wh..opq';
/** Other names with this prefix are aufs's own and mean nothing to us. */
const aufsPrefix = '.wh..wh.';

const maxComponentBytes = 255;
/** Leaves room for the layer's directory in front, below the kernel's 4096. */
const maxPathBytes = 3800;
/** Far above any real tree; bounds the work for one entry. */
const maxDepth = 256;

export type LayerName =
  /** Components below the root; none for the root itself. */
  | { kind: 'entry'; components: string[] }
  | { kind: 'whiteout'; components: string[] }
  /** `components` is the directory that it is in. */
  | { kind: 'opaque'; components: string[] }
  | { kind: 'ignored' };

/** An entry that is refused, with its name. */
export function refuseEntry(name: string, reason: string, cause?: unknown): never {
  throw new RuntimeError('invalid_layer', `entry ${JSON.stringify(name)}: ${reason}`, {
    details: { entry: name },
    cause,
  });
}

/** @throws RuntimeError `invalid_layer` for a name that leads out of the root or cannot be a path */
export function interpretName(name: string): LayerName {
  const components = pathComponents(name, name);
  const last = components.at(-1) ?? '';
  const parent = components.slice(0, -1);
  if (parent.some((component) => component.startsWith(whiteoutPrefix))) refuseEntry(name, 'below a whiteout');
  if (last === opaqueMarker) return { kind: 'opaque', components: parent };
  if (last.startsWith(aufsPrefix)) return { kind: 'ignored' };
  if (!last.startsWith(whiteoutPrefix)) return { kind: 'entry', components };
  const hidden = last.slice(whiteoutPrefix.length);
  if (hidden === '' || hidden === '.' || hidden === '..') refuseEntry(name, 'a whiteout of no name');
  return { kind: 'whiteout', components: [...parent, hidden] };
}

/**
 * The components of a path below the root: `./usr//bin/` is `usr`, `bin`.
 * @param name the entry that the path belongs to, for the error: itself, or the link whose target it is
 */
export function pathComponents(path: string, name: string): string[] {
  const what = path === name ? 'the path' : `its target ${JSON.stringify(path)}`;
  if (path === '') refuseEntry(name, `${what} is empty`);
  if (path.includes('\0')) refuseEntry(name, `${what} has a NUL`);
  if (path.startsWith('/')) refuseEntry(name, `${what} is absolute; expected one below the root`);
  if (Buffer.byteLength(path) > maxPathBytes) refuseEntry(name, `${what} is longer than ${maxPathBytes} bytes`);
  const components = path.split('/').filter((component) => component !== '' && component !== '.');
  if (components.includes('..')) refuseEntry(name, `${what} has a ".." in it`);
  if (components.length > maxDepth) refuseEntry(name, `${what} is deeper than ${maxDepth} directories`);
  const long = components.find((component) => Buffer.byteLength(component) > maxComponentBytes);
  if (long !== undefined) refuseEntry(name, `a component of ${what} is longer than ${maxComponentBytes} bytes`);
  return components;
}
