/** Where a function's packages come from: taken from the folder, installed with npm, or not needed. Pure. */
import { createHash } from 'node:crypto';
import { CliError } from '../output.ts';
import type { PackageJson } from './fn-json.ts';

export interface DependencyFacts {
  /** There is a `node_modules` in the folder that `.fnignore` does not leave out. */
  hasNodeModules: boolean;
  packageJson: PackageJson | undefined;
  /** Texts of the files that npm looks at. */
  files: { 'package.json'?: string; 'package-lock.json'?: string; 'npm-shrinkwrap.json'?: string; '.npmrc'?: string };
  /** What installed packages may depend on: version of Node, system, processor. */
  platform: string;
}

export type DependencyPlan =
  | { from: 'nowhere' }
  | { from: 'folder' }
  /** `key` names the result: the same key, the same packages. */
  | { from: 'npm'; args: string[]; files: Record<string, string>; key: string; note: string | undefined };

const commonArgs = ['--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--no-progress', '--loglevel=error'];

/** @throws CliError `invalid_config` for packages that npm cannot install away from the folder */
export function planDependencies(facts: DependencyFacts): DependencyPlan {
  if (facts.hasNodeModules) return { from: 'folder' };
  const { dependencies, optionalDependencies, peerDependencies, overrides } = facts.packageJson ?? {};
  const wanted = { ...dependencies, ...optionalDependencies };
  if (Object.keys(wanted).length === 0) return { from: 'nowhere' };
  refuseLocal(wanted);
  const { 'package.json': manifest = '', ...others } = facts.files;
  const isLocked = 'package-lock.json' in others || 'npm-shrinkwrap.json' in others;
  const identity = [facts.platform, { dependencies, optionalDependencies, peerDependencies, overrides }, others];
  return {
    from: 'npm',
    args: isLocked ? ['ci', ...commonArgs] : ['install', '--package-lock=false', ...commonArgs],
    files: { 'package.json': manifest, ...others },
    key: createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 32),
    // POLICY: without a lockfile a deploy works too, but what it chose stays chosen, and the person is told.
    note: isLocked
      ? undefined
      : 'no package-lock.json: the newest fitting packages are kept until package.json changes; npm install makes one',
  };
}

function refuseLocal(wanted: Record<string, string>): void {
  const local = Object.entries(wanted).find(([, version]) =>
    /^(?:file|link|workspace|portal):|^\.{0,2}\//.test(version),
  );
  if (!local) return;
  throw new CliError(`package.json: dependency "${local[0]}" is "${local[1]}", which is not in a registry`, {
    code: 'invalid_config',
    details: { dependency: local[0], version: local[1] },
    remedy: 'run npm install --install-links in the folder: its node_modules is then deployed as it is',
  });
}
