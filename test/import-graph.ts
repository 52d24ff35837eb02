/** Which file imports which: static, dynamic and type-only imports of the repository's own source files. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

export interface Import {
  /** Path in the repository for a relative import, else the package (`zod`) or built-in (`node:fs`) that is named. */
  readonly target: string;
  /** Erased before the program runs. */
  readonly typeOnly: boolean;
  /** `import('…')`: loaded when it is reached. */
  readonly dynamic: boolean;
}

export interface ImportGraph {
  /** Paths in the repository, sorted. */
  readonly files: readonly string[];
  importsOf(file: string): readonly Import[];
  /** Its first comment. */
  headerOf(file: string): string;
}

const root = join(import.meta.dirname, '..');

export function readImportGraph(folders: readonly string[]): ImportGraph {
  const files = folders.flatMap(listSources).toSorted();
  const texts = new Map(files.map((file) => [file, readFileSync(join(root, file), 'utf8')]));
  const imports = new Map(files.map((file) => [file, readImports(file, texts.get(file) ?? '')]));
  return {
    files,
    importsOf: (file) => imports.get(file) ?? [],
    headerOf: (file) => /^(?:#!.*\n|\/\/ @ts-check\n)*\/\*\*?([\s\S]*?)\*\//.exec(texts.get(file) ?? '')?.[1] ?? '',
  };
}

/** Chains of imports from `start` to each file or package that it reaches, the shortest first. */
export function reach(
  graph: ImportGraph,
  start: string,
  follows: (found: Import, from: string) => boolean,
): Map<string, readonly string[]> {
  const chains = new Map<string, readonly string[]>([[start, [start]]]);
  for (const [from, chain] of chains) {
    for (const found of graph.importsOf(from)) {
      if (follows(found, from) && !chains.has(found.target)) chains.set(found.target, [...chain, found.target]);
    }
  }
  return chains;
}

/** One cycle of static or dynamic imports that exist at run time, as a chain; undefined when there is none. */
export function findCycle(graph: ImportGraph): readonly string[] | undefined {
  const done = new Set<string>();
  const visit = (file: string, chain: readonly string[]): readonly string[] | undefined => {
    if (chain.includes(file)) return [...chain.slice(chain.indexOf(file)), file];
    if (done.has(file)) return undefined;
    for (const found of graph.importsOf(file)) {
      const cycle = found.typeOnly ? undefined : visit(found.target, [...chain, file]);
      if (cycle) return cycle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of graph.files) {
    const cycle = visit(file, []);
    if (cycle) return cycle;
  }
  return undefined;
}

function listSources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(ts|mjs)$/.test(entry.name) && !entry.name.endsWith('.d.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((file) => !file.includes('node_modules/'));
}

/** `import …`, `export … from …` at the beginning of a line, as the formatter writes them. */
const staticImport = /^(?:import|export)\s+(type\s)?(?:[^'"`;]*?\sfrom\s+)?['"]([^'"]+)['"]/gm;
const dynamicImport = /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;
const typedefImport = /\{\s*import\(\s*['"]([^'"]+)['"]\s*\)/g;

/** Exported for its own test. */
export function readImports(file: string, text: string): Import[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const target = (specifier: string) => resolveImport(file, specifier);
  const comments = text.match(/\/\*[\s\S]*?\*\//g)?.join('\n') ?? '';
  return [
    ...[...code.matchAll(staticImport)].map(([, type, specifier = '']) => ({
      target: target(specifier),
      typeOnly: type !== undefined,
      dynamic: false,
    })),
    ...[...code.matchAll(dynamicImport)].map(([, specifier = '']) => ({
      target: target(specifier),
      typeOnly: false,
      dynamic: true,
    })),
    ...[...comments.matchAll(typedefImport)].map(([, specifier = '']) => ({
      target: target(specifier),
      typeOnly: true,
      dynamic: false,
    })),
  ];
}

function resolveImport(file: string, specifier: string): string {
  if (specifier.startsWith('.')) return join(dirname(file), specifier);
  if (specifier.startsWith('node:')) return specifier;
  const parts = specifier.split('/');
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] as string);
}
