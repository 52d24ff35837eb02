/** The import rules of the design, each failing with the chain of imports that breaks it. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findCycle, type Import, reach, readImportGraph, readImports } from './import-graph.ts';

const root = join(import.meta.dirname, '..');
const graph = readImportGraph(['runtime', 'services', 'templates']);

const atRunTime = (found: Import) => !found.typeOnly;
const isFile = (target: string) => /^(runtime|services|templates)\//.test(target);

/** What the files of each place may import of the repository; the first pattern that matches the importer counts. */
const allowed: readonly [importer: RegExp, targets: RegExp][] = [
  [/^runtime\//, /^runtime\//],
  [/^services\/contracts\//, /^services\/contracts\//],
  [/^services\/platform\//, /^services\/(platform|contracts)\//],
  [
    /^services\/daemon\//,
    /^services\/(daemon|platform|contracts)\/|^runtime\/index\.ts$|^templates\/[^/]+\/base-image\.ts$/,
  ],
  [/^services\/registry\//, /^services\/(registry|platform|contracts)\/|^runtime\/oci\.ts$/],
  [/^services\/cli\//, /^services\/(cli|platform|contracts)\/|^runtime\/oci\.ts$/],
  [/^services\/gateway\//, /^services\/(gateway|platform|contracts)\//],
  [/^services\/worker\//, /^services\/(worker|platform|contracts)\//],
  [/^services\/dashboard\//, /^services\/(dashboard|platform|contracts)\//],
  [/^templates\/[^/]+\/agent\//, /^templates\/[^/]+\/agent\/|^services\/contracts\/(frames|agent)\.ts$/],
  // The recipes of base images, beside the agents.
  [/^templates\/[^/]+\/[^/]+\.ts$/, /^templates\/[^/]+\/[^/]+\.ts$|^runtime\/oci\.ts$/],
  // What `fn init` copies is a project of its own.
  [/^templates\/[^/]+\/[^/]+\//, /^templates\/[^/]+\/[^/]+\//],
];

/** The agent is loaded in every container, so that it takes code from two contracts only; types cost it nothing. */
const allowedTypes: readonly [importer: RegExp, targets: RegExp][] = [
  [/^templates\/[^/]+\/agent\//, /^services\/contracts\//],
];

/** Libraries that one file stands for (one per service where the design says so). */
const importSites: Record<string, readonly RegExp[]> = {
  koffi: [/^runtime\/sys\/libc\.ts$/],
  'tar-stream': [/^runtime\/image\/tar\.ts$/],
  bullmq: [/^services\/gateway\/[^/]+\.ts$/, /^services\/worker\/[^/]+\.ts$/],
};

/** Modules through which a program acts on the world. */
const effects = new Set(
  ['fs', 'fs/promises', 'net', 'child_process', 'http', 'https', 'dgram', 'dns', 'tls', 'worker_threads'].map(
    (name) => `node:${name}`,
  ),
);

/** Places that are pure whatever their comments say. */
const purePlaces =
  /^(runtime\/(spec|dockerfile)\/|services\/contracts\/|runtime\/sandbox\/mount-plan\.ts|runtime\/cgroup\/control-files\.ts)/;

function isPure(file: string): boolean {
  return purePlaces.test(file) || /\bPure\b/.test(graph.headerOf(file));
}

/** `a → b → c` for each chain that ends at something forbidden. */
function brokenChains(
  start: string,
  follows: (found: Import) => boolean,
  forbidden: (target: string) => boolean,
): string[] {
  const chains = [...reach(graph, start, follows)];
  return chains.filter(([target]) => forbidden(target)).map(([, chain]) => chain.join(' → '));
}

describe('import rules', () => {
  test('every place imports only what the design lets it', () => {
    const broken = graph.files.flatMap((file) => {
      const targets = allowed.find(([importer]) => importer.test(file))?.[1];
      const types = allowedTypes.find(([importer]) => importer.test(file))?.[1];
      if (!targets) return [`${file}: a place that the design does not know`];
      return graph
        .importsOf(file)
        .filter(({ target, typeOnly }) => isFile(target) && !targets.test(target) && !(typeOnly && types?.test(target)))
        .map(({ target }) => `${file} → ${target}`);
    });
    expect(broken).toEqual([]);
  });

  test('every relative import leads to a file of these places', () => {
    const broken = graph.files.flatMap((file) =>
      graph
        .importsOf(file)
        .filter(
          ({ target }) =>
            !target.startsWith('node:') && (isFile(target) ? !existsSync(join(root, target)) : target.startsWith('.')),
        )
        .map(({ target }) => `${file} → ${target}`),
    );
    expect(broken).toEqual([]);
  });

  test('packages are declared, and not for development only', () => {
    const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: object };
    const broken = graph.files.flatMap((file) =>
      graph
        .importsOf(file)
        .filter(
          ({ target, typeOnly }) =>
            !typeOnly && !isFile(target) && !target.startsWith('node:') && !(target in dependencies),
        )
        .map(({ target }) => `${file} → ${target}`),
    );
    expect(broken).toEqual([]);
  });

  test('there are no cycles', () => {
    expect(findCycle(graph)?.join(' → ')).toBeUndefined();
  });

  test.each(Object.entries(importSites))('%s has its import sites and no others', (library, sites) => {
    const importers = graph.files.filter((file) => graph.importsOf(file).some(({ target }) => target === library));
    const sitesOf = (file: string) => sites.findIndex((site) => site.test(file));
    expect(importers.filter((file) => sitesOf(file) < 0)).toEqual([]);
    for (const [index] of sites.entries()) {
      expect(importers.filter((file) => sitesOf(file) === index).length, importers.join(', ')).toBeLessThanOrEqual(1);
    }
  });
});

describe('closures', () => {
  test.each(graph.files.filter(isPure))('%s is pure', (file) => {
    const isEffect = (target: string) => effects.has(target) || /^runtime\/sys\/(syscalls|libc)\.ts$/.test(target);
    expect(brokenChains(file, atRunTime, isEffect)).toEqual([]);
  });

  test.each(['main', 'child'].map((name) => `runtime/zygote/${name}.ts`))(
    '%s stays small: no validation library, no services, nothing that waits',
    (file) => {
      const isForbidden = (target: string) => {
        if (isFile(target)) return !/^runtime\/((zygote|sys|sandbox|cgroup|network)\/|errors\.ts$)/.test(target);
        if (!target.startsWith('node:')) return target !== 'koffi';
        return effects.has(target) && target !== 'node:fs';
      };
      expect(brokenChains(file, atRunTime, isForbidden)).toEqual([]);
    },
  );

  test('runtime/oci.ts is the unprivileged door: no system calls behind it', () => {
    expect(brokenChains('runtime/oci.ts', atRunTime, (target) => /^runtime\/sys\/|^koffi$/.test(target))).toEqual([]);
  });

  test('the agent in a container loads no package', () => {
    const isPackage = (target: string) => !isFile(target) && !target.startsWith('node:');
    expect(brokenChains('templates/node/agent/main.ts', atRunTime, isPackage)).toEqual([]);
  });

  test('fn --help loads commander and nothing else', () => {
    const isHeavy = (target: string) => !isFile(target) && !target.startsWith('node:') && target !== 'commander';
    const follows = (found: Import) => atRunTime(found) && !found.dynamic;
    expect(brokenChains('services/cli/program.ts', follows, isHeavy)).toEqual([]);
  });

  test('set-up needs nothing that it installs', () => {
    const isInstalled = (target: string) => !isFile(target) && !target.startsWith('node:');
    expect(brokenChains('services/cli/set-up.mjs', atRunTime, isInstalled)).toEqual([]);
  });
});

describe('reading imports', () => {
  test('finds every form, and tells types from values', () => {
    const text = [
      `import { a } from './a.ts';`,
      `import type { B } from '../b.ts';`,
      `import {\n  c,\n  type D,\n} from '@scope/c/deep';`,
      `export { e } from 'e';`,
      `import 'node:f';`,
      `const g = await import('./g.ts');`,
      `// import { h } from './h.ts';`,
      `/** import { i } from './i.ts' */`,
      `/** @typedef {import('./j.ts').J} J */`,
    ].join('\n');
    expect(readImports('x/y.ts', text)).toEqual([
      { target: 'x/a.ts', typeOnly: false, dynamic: false },
      { target: 'b.ts', typeOnly: true, dynamic: false },
      { target: '@scope/c', typeOnly: false, dynamic: false },
      { target: 'e', typeOnly: false, dynamic: false },
      { target: 'node:f', typeOnly: false, dynamic: false },
      { target: 'x/g.ts', typeOnly: false, dynamic: true },
      { target: 'x/j.ts', typeOnly: true, dynamic: false },
    ]);
  });
});
