/**
 * One module at deploy time: types stripped from TypeScript, syntax checked. Source to source, in this process.
 *
 * POLICY: swc, which Node uses to strip types, is the parser for TypeScript and, because V8 offers none to programs,
 * the first one for ES modules. It lets some early errors pass (a name declared twice): the verifying start finds
 * those. What it takes offence at in JavaScript is only `doubtful`: V8 has the last word (`node-check.ts`).
 */
import { stripTypeScriptTypes } from 'node:module';
import { compileFunction } from 'node:vm';
import { readProblem, type SyntaxProblem } from './syntax-error.ts';

/** How Node will load a file: told by its extension or the nearest package.json, else found out from its syntax. */
export type ModuleKind = 'module' | 'commonjs' | 'unknown';

export type Compiled =
  | { outcome: 'ok'; code: string }
  | { outcome: 'failed'; problem: SyntaxProblem }
  | { outcome: 'doubtful' };

/** @param packageType `type` of the nearest package.json */
export function moduleKind(path: string, packageType: string | undefined): ModuleKind {
  if (/\.m[jt]s$/.test(path)) return 'module';
  if (/\.c[jt]s$/.test(path)) return 'commonjs';
  return packageType === 'module' || packageType === 'commonjs' ? packageType : 'unknown';
}

/** @param path of the module in the container, for its source map */
export function compileTypeScript(path: string, source: string, kind: ModuleKind): Compiled {
  const stripped = strip(path, source);
  if (stripped.outcome !== 'ok' || kind !== 'commonjs') return stripped;
  const problem = commonJsProblem(stripped.code);
  return problem ? { outcome: 'failed', problem } : stripped;
}

/** Enums, namespaces and parameter properties become code, which moves lines: only then there is a source map. */
function strip(path: string, source: string): Compiled {
  try {
    return { outcome: 'ok', code: stripTypeScriptTypes(source, { mode: 'strip' }) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX') return failed(source, error);
  }
  try {
    const options = { mode: 'transform', sourceMap: true, sourceUrl: path } as const;
    return { outcome: 'ok', code: stripTypeScriptTypes(source, options) };
  } catch (error) {
    return failed(source, error);
  }
}

function failed(source: string, error: unknown): Compiled {
  const { code, stack = '' } = error as NodeJS.ErrnoException;
  if (!code?.endsWith('_TYPESCRIPT_SYNTAX')) throw error;
  return { outcome: 'failed', problem: readProblem(source, stack, 'swc') };
}

export function checkJavaScript(source: string, kind: ModuleKind): Compiled {
  const ok: Compiled = { outcome: 'ok', code: source };
  if (kind !== 'module') {
    const problem = commonJsProblem(source);
    if (!problem) return ok;
    if (kind === 'commonjs') return { outcome: 'failed', problem };
  }
  return isPlainModule(source) ? ok : { outcome: 'doubtful' };
}

/** Without types to strip, the text comes back as it was. */
function isPlainModule(source: string): boolean {
  try {
    return stripTypeScriptTypes(source, { mode: 'strip' }) === source;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code?.endsWith('_TYPESCRIPT_SYNTAX')) return false;
    throw error;
  }
}

/** Compiled, never run, in the wrapper that Node puts around CommonJS. */
function commonJsProblem(source: string): SyntaxProblem | undefined {
  const bare = source.replace(/^#!.*/, '');
  try {
    compileFunction(bare, ['exports', 'require', 'module', '__filename', '__dirname'], { filename: 'module' });
    return undefined;
  } catch (error) {
    if ((error as Error).name !== 'SyntaxError') throw error;
    return readProblem(source, String((error as Error).stack), 'v8');
  }
}
