/** From a folder to what is to be deployed: read, checked and planned, nothing packed or sent. */

import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { arch, platform, versions } from 'node:process';
import type { FunctionConfigInput } from '../../contracts/function.ts';
import { type CodeFiles, prepareCode } from './code-files.ts';
import { type DependencyPlan, planDependencies } from './dependency-plan.ts';
import { assertDeploySize } from './deploy-size.ts';
import { findEntry } from './entry.ts';
import { parsePackageJson, readFunctionConfig, readText } from './fn-json.ts';
import { type FolderEntry, walkFolder } from './folder.ts';
import { parseIgnore } from './ignore.ts';

export interface PreparedDeploy {
  readonly config: FunctionConfigInput;
  /** Entry module, relative to the folder. */
  readonly entry: string;
  readonly code: CodeFiles;
  readonly dependencies: DependencyPlan;
  /** The folder's own `node_modules`, when the plan is to take it. */
  readonly packages: readonly FolderEntry[];
}

/** @throws CliError with the reason why the folder cannot be deployed */
export async function prepareDeploy(
  folder: string,
  options: { temporary: string; signal?: AbortSignal | undefined },
): Promise<PreparedDeploy> {
  const ignored = parseIgnore((await readText(join(folder, '.fnignore'))) ?? '');
  const found = await walkFolder(folder, {
    skip: (path, isFolder) => path === 'node_modules' || path === '.fnignore' || isGit(path) || ignored(path, isFolder),
  });
  const config = await readFunctionConfig(folder);
  const packageText = await readText(join(folder, 'package.json'));
  const packageJson = packageText === undefined ? undefined : parsePackageJson('package.json', packageText);
  const files = new Set(found.flatMap((entry) => (entry.type === 'directory' ? [] : [entry.path])));
  const entry = findEntry(files, config.entry, packageJson);
  const packages = await readPackages(folder, ignored('node_modules', true));
  assertDeploySize([...found, ...packages].flatMap((each) => (each.type === 'file' ? [each] : [])));
  const dependencies = planDependencies({
    hasNodeModules: packages.length > 0,
    packageJson,
    files: await readNpmFiles(folder),
    platform: `node ${versions.node} ${platform} ${arch}`,
  });
  return { config, entry, code: await prepareCode(found, options), dependencies, packages };
}

function isGit(path: string): boolean {
  return path === '.git' || path.endsWith('/.git');
}

/** Patterns of `.fnignore` leave `node_modules` out as a whole or not at all: `dist` must not reach into packages. */
async function readPackages(folder: string, ignored: boolean): Promise<FolderEntry[]> {
  if (ignored) return [];
  const isThere = await access(join(folder, 'node_modules')).then(
    () => true,
    () => false,
  );
  return isThere ? walkFolder(folder, { below: 'node_modules', skip: isGit }) : [];
}

const npmFiles = ['package.json', 'package-lock.json', 'npm-shrinkwrap.json', '.npmrc'] as const;

async function readNpmFiles(folder: string): Promise<Partial<Record<(typeof npmFiles)[number], string>>> {
  const texts = await Promise.all(npmFiles.map(async (name) => [name, await readText(join(folder, name))] as const));
  return Object.fromEntries(texts.filter(([, text]) => text !== undefined));
}
