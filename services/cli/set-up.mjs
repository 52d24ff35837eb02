// @ts-check
/**
 * Set-up: brings what is missing, in the order in which one thing needs the other, and says what it does. Each step
 * first looks whether there is anything to do. Plain JavaScript for any Node ≥ 18: runs before there is a node_modules.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, readFileSync, readlinkSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkMachine, checkPrograms, findProgram, packageOfProgram, readMachine } from '../platform/machine.mjs';

/** @typedef {import('../platform/machine.mjs').Check} Check */
/** @typedef {import('../platform/machine.mjs').Machine} Machine */
/** @typedef {Record<'dependencies' | 'devDependencies' | 'optionalDependencies', Record<string, string> | undefined>} Manifest */
/** @typedef {Manifest & { version: string, integrity?: string, optional?: boolean, devOptional?: boolean }} LockedPackage */
/** @typedef {{ packages: Record<string, LockedPackage> }} Lockfile */

const root = realpathSync(join(dirname(fileURLToPath(import.meta.url)), '../..'));
const linkPath = '/usr/local/bin/fn';
const pinnedNode = join(root, 'node_modules/.bin/node');
/** Debian's packages of the programs that only the tests call. */
const packageOfTestProgram = process.argv[2] === 'test' ? { busybox: 'busybox-static' } : {};

try {
  const machine = readMachine();
  requireAll(checkMachine(machine), 'this machine cannot run Stoke yet:');
  installDependencies();
  const changes = [installPackages(machine), createUser(machine)];
  requireAll(checkPrograms(changes.includes(true) ? readMachine() : machine), 'still missing:');
  linkCommand();
} catch (error) {
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}

/**
 * @param {Check[]} checks
 * @param {string} heading
 */
function requireAll(checks, heading) {
  const missing = checks.filter((check) => check.state === 'missing');
  if (missing.length === 0) return;
  throw new Error(
    [heading, ...missing.map(({ name, found, remedy }) => `  ${name}: ${found}\n    ${remedy}`)].join('\n'),
  );
}

/** npm 9 and 10 drop the link: it is also that of the package for the other processor, which they remove again. */
function linkPinnedNode() {
  const binary = `node-linux-${process.arch}/bin/node`;
  if (existsSync(pinnedNode) || !existsSync(join(root, 'node_modules', binary))) return;
  rmSync(pinnedNode, { force: true });
  symlinkSync(`../${binary}`, pinnedNode);
}

/** `npm ci` unless node_modules is what the lockfile says. Install scripts are not run: nothing depends on one. */
function installDependencies() {
  linkPinnedNode();
  const reason = whyDependenciesAreStale();
  if (reason === undefined) return;
  say(`npm dependencies: ${reason}; installing what package-lock.json says`);
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  // The npm that runs this script, on the Node that runs it: the pinned Node is about to be replaced.
  const npm = process.env.npm_execpath;
  const node = process.env.npm_node_execpath ?? process.execPath;
  const status = npm ? run(node, [npm, ...args]) : run('npm', args);
  if (status !== 0) throw new Error('npm ci failed: see above; is the package registry reachable?');
  linkPinnedNode();
  if (!existsSync(pinnedNode)) {
    throw new Error(
      'npm left out the pinned Node: run npm ci without --omit=optional and without another --cpu or --os',
    );
  }
}

/**
 * Compares npm's own record of what it installed with what is locked.
 * @returns {string | undefined} undefined when there is nothing to do
 */
function whyDependenciesAreStale() {
  const installed = /** @type {Lockfile | undefined} */ (readJson('node_modules/.package-lock.json'));
  if (installed === undefined || !existsSync(pinnedNode)) return 'not installed';
  const locked = /** @type {Lockfile} */ (readJson('package-lock.json'));
  const wanted = /** @type {Manifest} */ (readJson('package.json'));
  for (const kind of /** @type {const} */ (['dependencies', 'devDependencies', 'optionalDependencies'])) {
    if (!sameEntries(wanted[kind], locked.packages['']?.[kind])) return 'package.json is newer than package-lock.json';
  }
  for (const [path, entry] of Object.entries(locked.packages)) {
    const there = installed.packages[path];
    // Optional packages are those of other processors, too.
    if (path === '' || (there === undefined && (entry.optional || entry.devOptional))) continue;
    if (there?.version !== entry.version || there?.integrity !== entry.integrity) return `${path} differs`;
  }
  return undefined;
}

/**
 * Debian's packages, where there is apt.
 * @param {Machine} machine
 * @returns {boolean} whether anything was installed
 */
function installPackages({ programs, redisNeeded }) {
  /** @type {[string, string][]} */
  const lacking = Object.entries(packageOfProgram).filter(
    ([program]) => !programs.includes(program) && (redisNeeded || program !== 'redis-server'),
  );
  lacking.push(...Object.entries(packageOfTestProgram).filter(([program]) => !findProgram(program)));
  const packages = [...new Set(lacking.map(([, debianPackage]) => debianPackage))];
  if (packages.length === 0) return false;
  if (!findProgram('apt-get')) {
    const names = lacking.map(([program]) => program).join(', ');
    throw new Error(
      `programs missing: ${names}\n  install them with this system's package manager; in Debian the packages are: ${packages.join(' ')}`,
    );
  }
  say(`Debian packages: installing ${packages.join(', ')}`);
  const withRedis = packages.includes('redis-server');
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  if (run('apt-get', ['update', '-q'], env) !== 0) throw new Error('apt-get update failed: see above');
  if (withRedis) keepSystemRedisFromStarting();
  const status = run('apt-get', ['install', '-q', '-y', '--no-install-recommends', ...packages], env);
  if (withRedis) leaveSystemRedisOff();
  if (status !== 0) throw new Error(`apt-get install failed: see above; try: apt-get install ${packages.join(' ')}`);
  return true;
}

/** The package starts a Redis of its own, on a TCP port, which nobody asked for. A runtime mask is gone at a reboot. */
function keepSystemRedisFromStarting() {
  if (existsSync('/run/systemd/system')) run('systemctl', ['--quiet', 'mask', '--runtime', 'redis-server.service']);
}

function leaveSystemRedisOff() {
  if (existsSync('/run/systemd/system')) {
    run('systemctl', ['--quiet', 'unmask', '--runtime', 'redis-server.service']);
    run('systemctl', ['--quiet', 'disable', '--now', 'redis-server.service']);
  } else if (existsSync('/etc/init.d/redis-server')) {
    run('/etc/init.d/redis-server', ['stop']);
    run('update-rc.d', ['redis-server', 'disable']);
  }
  say('the system service redis-server, which came with the package, is off: Stoke runs its own on private sockets');
}

/**
 * @param {Machine} machine
 * @returns {boolean} whether it was created
 */
function createUser({ user, userExists }) {
  if (userExists) return false;
  say(`user: creating the system user "${user}" for the processes that need no privilege`);
  const status = run('useradd', ['--system', '--no-create-home', '--shell', '/usr/sbin/nologin', user]);
  if (status !== 0) throw new Error(`useradd ${user} failed: see above`);
  return true;
}

/** Another checkout's link, or another program called fn, is not ours to replace. */
function linkCommand() {
  const target = join(root, 'services/cli/fn');
  const there = lstatSync(linkPath, { throwIfNoEntry: false });
  if (there?.isSymbolicLink()) {
    const current = readlinkSync(linkPath);
    if (current === target) return;
    if (existsSync(linkPath) || !current.endsWith('/services/cli/fn')) {
      say(`warning: ${linkPath} belongs to ${current}; this checkout's command is ${target}`);
      return;
    }
    rmSync(linkPath);
  } else if (there) {
    say(`warning: ${linkPath} is another program; this checkout's command is ${target}`);
    return;
  }
  try {
    symlinkSync(target, linkPath);
    say(`command: ${linkPath} → ${target}`);
  } catch (error) {
    say(`warning: cannot write ${linkPath} (${/** @type {Error} */ (error).message}); the command is ${target}`);
  }
}

/**
 * Shows what the command prints; nothing is read from stdin.
 * @param {string} command
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 */
function run(command, args, env = process.env) {
  const result = spawnSync(command, args, { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'] });
  if (result.error) say(`${command}: ${result.error.message}`);
  return result.status ?? 1;
}

/**
 * @param {string} path in the checkout
 * @returns {unknown} undefined when there is no such file
 */
function readJson(path) {
  const file = join(root, path);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
}

/**
 * @param {Record<string, string>} [left]
 * @param {Record<string, string>} [right]
 */
function sameEntries(left = {}, right = {}) {
  const names = new Set([...Object.keys(left), ...Object.keys(right)]);
  return [...names].every((name) => left[name] === right[name]);
}

/** @param {string} text */
function say(text) {
  process.stdout.write(`set-up · ${text}\n`);
}
