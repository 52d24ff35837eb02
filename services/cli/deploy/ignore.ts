/** `.fnignore`: which files of a folder are no part of the function. The common part of gitignore's patterns. Pure. */
import { CliError } from '../output.ts';

interface Rule {
  readonly pattern: RegExp;
  readonly negated: boolean;
  readonly folderOnly: boolean;
}

/** Says whether a path, relative to the folder and without a slash at its end, is left out. */
export type Ignore = (path: string, isFolder: boolean) => boolean;

/**
 * `*`, `?`, `**`, `[…]`, a slash in front or in the middle (from the folder's root), a slash at the end (folders only),
 * `!` (again in), `#` (comment). The last pattern that matches decides. Nothing can be brought back from a left-out folder.
 */
export function parseIgnore(text: string): Ignore {
  const rules = text.split(/\r?\n/).flatMap(parseRule);
  return (path, isFolder) => {
    const last = rules.findLast((rule) => (isFolder || !rule.folderOnly) && rule.pattern.test(path));
    return last !== undefined && !last.negated;
  };
}

function parseRule(line: string): Rule[] {
  const trimmed = line.replace(/(?<!\\)\s+$/, '');
  if (trimmed === '' || trimmed.startsWith('#')) return [];
  const negated = trimmed.startsWith('!');
  const body = trimmed.slice(negated ? 1 : 0);
  const folderOnly = body.endsWith('/');
  const glob = body.replace(/\/+$/, '');
  if (glob === '') return [];
  const anchored = glob.includes('/');
  const source = `^${anchored ? '' : '(?:.*/)?'}${globSource(glob.replace(/^\//, ''))}$`;
  try {
    return [{ pattern: new RegExp(source, 'su'), negated, folderOnly }];
  } catch (cause) {
    throw new CliError(`.fnignore: "${line}" is not a pattern`, { code: 'invalid_config', cause });
  }
}

const globParts = /\*\*\/|\/\*\*$|\*\*|\*|\?|\[!?\]?[^\]/]*\]|\\.|[^*?[\\/]+|./gsu;

function globSource(glob: string): string {
  return glob.replace(globParts, (part) => {
    if (part === '**/') return '(?:.*/)?';
    if (part === '/**') return '/.*';
    if (part === '**') return '.*';
    if (part === '*') return '[^/]*';
    if (part === '?') return '[^/]';
    if (part.startsWith('[') && part.length > 2) return characterClass(part);
    return (part.length === 2 && part.startsWith('\\') ? part.slice(1) : part).replace(/[\\^$.*+?()[\]{}|/]/gu, '\\$&');
  });
}

function characterClass(part: string): string {
  const negated = part[1] === '!';
  const members = part.slice(negated ? 2 : 1, -1).replace(/[\\^[\]]/gu, '\\$&');
  return `[${negated ? '^/' : ''}${members}]`;
}
