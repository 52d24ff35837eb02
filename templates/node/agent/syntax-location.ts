/**
 * Where a syntax error is. Node gives file and line for CommonJS only; for a module the error has its message and
 * nothing else. So the files of the function are parsed once more, as scripts, until one fails with the same message.
 * Runs only when loading has failed.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { Script } from 'node:vm';

const maxFiles = 300;

export interface Location {
  /** Relative to the root. */
  file: string;
  line: number;
}

/** @param stripped whether `.ts` files hold plain JavaScript */
export function locateSyntaxError(
  error: SyntaxError,
  root: string,
  entry: string,
  stripped: boolean,
): Location | undefined {
  const own = fromStack(String(error.stack), root);
  if (own) return own;
  for (const file of [entry, ...sourceFiles(root)]) {
    const line = failingLine(readSource(join(root, file), stripped), error.message);
    if (line !== undefined) return { file, line };
  }
  return undefined;
}

/** CommonJS errors begin with `/path/file.js:3`, those of type stripping with `file:///path/file.ts:3`. */
function fromStack(stack: string, root: string): Location | undefined {
  const match = /^(?:file:\/\/)?(\/.*):(\d+)$/m.exec(stack.split('\n', 1)[0] as string);
  if (!match?.[1]?.startsWith(`${root}/`)) return undefined;
  return { file: match[1].slice(root.length + 1), line: Number(match[2]) };
}

function sourceFiles(root: string): string[] {
  const files: string[] = [];
  const folders = [''];
  for (let folder = folders.shift(); folder !== undefined && files.length < maxFiles; folder = folders.shift()) {
    for (const item of readdirSync(join(root, folder), { withFileTypes: true })) {
      if (item.isDirectory() && item.name !== 'node_modules') folders.push(join(folder, item.name));
      else if (item.isFile() && /\.[mc]?[jt]s$/.test(item.name)) files.push(join(folder, item.name));
    }
  }
  return files;
}

function readSource(path: string, stripped: boolean): string {
  try {
    const source = readFileSync(path, 'utf8');
    return stripped || !path.endsWith('ts') ? source : stripTypeScriptTypes(source);
  } catch {
    // Not there, or not TypeScript either: then the error is not located in it by this means.
    return '';
  }
}

/** @returns the line of the error with this message in a module's source; undefined if it has none or another */
export function failingLine(source: string, message: string): number | undefined {
  try {
    new Script(asScript(source), { filename: 'source' });
    return undefined;
  } catch (error) {
    if (!(error instanceof SyntaxError) || error.message !== message) return undefined;
    const line = /^source:(\d+)/.exec(String(error.stack))?.[1];
    return line === undefined ? undefined : Number(line);
  }
}

/** A module's source as a script of the same lines: imports and exports blanked, top-level await inside a function. */
function asScript(source: string): string {
  const blank = (text: string) => text.replace(/[^\n]/g, ' ');
  const body = source
    .replace(/^#!.*/, '')
    .replace(/^[ \t]*import\b(?!\s*[(.])[^;'"`]*(['"])[^'"\n]*\1(?:\s*with\s*\{[^}]*\})?/gm, blank)
    .replace(/^[ \t]*export\s*(?:\*[^;'"]*|\{[^}]*\}\s*(?=from))from\s*(['"])[^'"\n]*\1/gm, blank)
    .replace(/^[ \t]*export\s*\{[^}]*\}/gm, blank)
    .replace(/^([ \t]*)export[ \t]+default\b/gm, (text, indent: string) => `${indent}void 0,`.padEnd(text.length))
    .replace(/^[ \t]*export\b(?=\s+(?:const|let|var|function|async|class)\b)/gm, blank)
    .replace(/\bimport\.meta\b/g, 'import_meta');
  return `(async()=>{"use strict";${body}\n})`;
}
