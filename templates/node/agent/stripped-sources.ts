/**
 * Loading of functions whose types were stripped at deploy: their `.ts` files hold plain JavaScript, which Node must
 * not strip again. Also finds what TypeScript resolvers find: `./x.ts` for `./x.js`, and paths without an extension.
 */
import { readFileSync, statSync } from 'node:fs';
import { type LoadFnOutput, registerHooks } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { compileFunction } from 'node:vm';

/** Hooks `require` and `import` for files below `root`, for good. */
export function loadStrippedSources(root: string): ReturnType<typeof registerHooks> {
  const prefix = pathToFileURL(`${root}/`).href;
  return registerHooks({
    resolve(specifier, context, next) {
      const parent = context.parentURL;
      if (!/^\.\.?(?:\/|$)/.test(specifier) || !parent?.startsWith(prefix) || parent.includes('/node_modules/')) {
        return next(specifier, context);
      }
      const wanted = resolve(dirname(fileURLToPath(parent)), decodeURIComponent(specifier));
      const found = findSource(wanted, isFile);
      return next(found && found !== wanted ? pathToFileURL(found).href : specifier, context);
    },
    load(url, context, next) {
      if (!url.startsWith(prefix) || !/\.[mc]?ts$/.test(url) || url.includes('/node_modules/')) {
        return next(url, context);
      }
      return loadStripped(url, context.format);
    },
  });
}

function loadStripped(url: string, nodesFormat: string | null | undefined): LoadFnOutput {
  const source = readFileSync(fileURLToPath(url), 'utf8');
  return { format: moduleFormat(url, nodesFormat, source), source, shortCircuit: true };
}

/** From the extension, else what Node read from the nearest package.json, else the syntax. */
function moduleFormat(url: string, nodesFormat: string | null | undefined, source: string): 'module' | 'commonjs' {
  if (url.endsWith('.mts') || nodesFormat?.startsWith('module')) return 'module';
  if (url.endsWith('.cts') || nodesFormat?.startsWith('commonjs')) return 'commonjs';
  return isModule(source) ? 'module' : 'commonjs';
}

/** What V8 says of module syntax in a script; the lists are Node's (`src/node_contextify.cc`). */
const onlyInModules = [
  'Cannot use import statement outside a module',
  "Unexpected token 'export'",
  "Cannot use 'import.meta' outside a module",
];
const perhapsInModules = [
  /^Identifier '(?:__filename|__dirname|exports|module|require)' has already been declared$/,
  /^await is only valid in async functions and the top level bodies of modules$/,
  /^Unexpected reserved word$/,
];

/**
 * Whether source text is an ES module, by Node's rule: it does not compile as CommonJS because of module syntax.
 * Text that is neither counts as CommonJS, whose loader then reports the error with file and line.
 */
export function isModule(source: string): boolean {
  const message = compileError(source, ['exports', 'require', 'module', '__filename', '__dirname']);
  if (message === undefined) return false;
  if (onlyInModules.includes(message)) return true;
  if (!perhapsInModules.some((pattern) => pattern.test(message))) return false;
  // Top-level await, or names that CommonJS has taken: it is a module if it compiles in an async function.
  const inside = compileError(`(async function() {${source}\n})();`, []);
  return inside === undefined || onlyInModules.includes(inside);
}

function compileError(source: string, parameters: string[]): string | undefined {
  try {
    compileFunction(source.replace(/^#!.*/, ''), parameters);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/**
 * The file that a relative import means, by TypeScript's rules. Pure.
 * @returns `path` itself if it is a file, undefined if there is none
 */
export function findSource(path: string, isFile: (path: string) => boolean): string | undefined {
  const twin = path.replace(/\.([mc]?)js$/, '.$1ts');
  const tails = ['.ts', '.js', '.mts', '.mjs', '.cts', '.cjs', '/index.ts', '/index.js'];
  return [path, twin, ...tails.map((tail) => path + tail)].find(isFile);
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}
