/**
 * Image references as people type them: `[registry/]repository[:tag][@digest]`. Pure.
 * Grammar: the distribution project's reference package, which docker, podman and skopeo share.
 */
import { RuntimeError } from '../errors.ts';
import { digestPattern } from './digest.ts';

export interface ImageReference {
  /** `host`, `host:port` or `[v6]:port`; absent when the reference names none. */
  readonly registry?: string;
  /** Slash-separated, in lower case. */
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: string;
}

const componentPattern = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^\w[\w.-]{0,127}$/;
const registryPattern = /^(?:\[[0-9a-fA-F:]+\]|[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?)(?::(\d{1,5}))?$/;
const maxNameLength = 255;

/** @throws RuntimeError `invalid_reference`, naming the part that is wrong and what it may be */
export function parseReference(text: string): ImageReference {
  const fail = (reason: string): never => {
    throw new RuntimeError('invalid_reference', `image reference "${text}": ${reason}`);
  };
  if (text === '') fail('it is empty; expected name[:tag][@digest]');
  if (/\s/.test(text)) fail('it has white space');
  if (text.includes('://')) fail('it has a scheme; write it without');

  const { name, digest } = splitDigest(text);
  if (digest !== undefined && !digestPattern.test(digest)) {
    fail(`digest "${digest}" is not sha256:<64 lower-case hex digits>`);
  }
  const { path, tag } = splitTag(name);
  if (tag !== undefined && !tagPattern.test(tag)) {
    fail(`tag "${tag}" is not 1 to 128 of letters, digits, "_", "." and "-", beginning with none of the last two`);
  }
  const { registry, repository } = splitRegistry(path);
  if (registry !== undefined) checkRegistry(registry, fail);
  checkRepository(repository, fail);
  if (path.length > maxNameLength)
    fail(`the name is ${path.length} characters long; at most ${maxNameLength} are allowed`);
  return {
    ...(registry === undefined ? {} : { registry }),
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** As it is typed; `parseReference` of it gives the same reference. */
export function formatReference(reference: ImageReference): string {
  const registry = reference.registry === undefined ? '' : `${reference.registry}/`;
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`;
  return `${registry}${reference.repository}${tag}${digest}`;
}

/** The key of a tag: the reference with `latest` where it names neither tag nor digest. */
export function withDefaultTag(reference: ImageReference): ImageReference {
  return reference.tag === undefined && reference.digest === undefined ? { ...reference, tag: 'latest' } : reference;
}

function splitDigest(text: string): { name: string; digest?: string } {
  const at = text.indexOf('@');
  return at < 0 ? { name: text } : { name: text.slice(0, at), digest: text.slice(at + 1) };
}

/** A colon behind the last slash begins a tag; one before it belongs to a port. */
function splitTag(name: string): { path: string; tag?: string } {
  const colon = name.indexOf(':', name.lastIndexOf('/') + 1);
  return colon < 0 ? { path: name } : { path: name.slice(0, colon), tag: name.slice(colon + 1) };
}

/** The first component is a registry when no repository could be called so. */
function splitRegistry(path: string): { registry?: string; repository: string } {
  const slash = path.indexOf('/');
  const first = path.slice(0, slash);
  if (slash <= 0 || !(/[.:]/.test(first) || first === 'localhost')) return { repository: path };
  return { registry: first, repository: path.slice(slash + 1) };
}

function checkRegistry(registry: string, fail: (reason: string) => never): void {
  const match = registryPattern.exec(registry);
  if (!match) fail(`registry "${registry}" is not host or host:port`);
  else if (match[1] !== undefined && Number(match[1]) > 65_535)
    fail(`registry "${registry}": port ${match[1]} is above 65535`);
}

function checkRepository(repository: string, fail: (reason: string) => never): void {
  if (repository === '') fail('the name is missing; expected name[:tag][@digest]');
  for (const component of repository.split('/')) {
    if (component === '') fail('a slash with nothing before or behind it');
    if (/[A-Z]/.test(component)) fail(`"${component}" has upper-case letters; use "${component.toLowerCase()}"`);
    if (!componentPattern.test(component)) {
      fail(`"${component}" is not a-z and 0-9, joined by ".", "_", "__" or "-"`);
    }
  }
}
