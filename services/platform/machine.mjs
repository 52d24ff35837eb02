// @ts-check
/**
 * What this machine must offer, and whether it does. Plain JavaScript without dependencies: set-up runs it on any
 * Node ≥ 18 before anything is installed, `fn doctor` at any time. `readMachine` looks, `checkMachine` judges (pure).
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { arch, release } from 'node:os';
import { delimiter, join } from 'node:path';

/**
 * One requirement: `ok`; `missing`, and then Stoke cannot run; or `advice`, something that would be better otherwise.
 * @typedef {{ name: string, state: 'ok' | 'missing' | 'advice', found: string, remedy?: string }} Check
 */

/**
 * What was found. Texts are those of the kernel's files, empty where there is none.
 * @typedef {object} Machine
 * @property {string} platform
 * @property {string} architecture as Node calls it
 * @property {string} kernel release
 * @property {boolean} glibc
 * @property {number} uid effective
 * @property {string} status /proc/self/status
 * @property {string} mounts /proc/self/mounts
 * @property {string} cgroup2Controllers cgroup.controllers at the root of the cgroup2 mount
 * @property {string} seccompActions
 * @property {string | null} sandboxFailure why namespaces with an overlay in them could not be made; null: they could
 * @property {string} node version
 * @property {string[]} programs of `packageOfProgram`, those on PATH
 * @property {string} redisVersion output of `redis-server --version`
 * @property {boolean} redisNeeded false when both Redis come from elsewhere
 * @property {string} user whom the unprivileged processes run as
 * @property {boolean} userExists
 */

/** Debian's package of each program that Stoke calls. */
export const packageOfProgram = Object.freeze({
  'redis-server': 'redis-server',
  nft: 'nftables',
  ip: 'iproute2',
  setpriv: 'util-linux',
});

/** Linux 5.10: volatile overlays, `clone3` into a cgroup, `close_range`, pidfds. */
const oldestKernel = [5, 10];
const oldestRedis = [6, 2];
const oldestNode = [18, 0];
const cgroup2Needs = ['cpu', 'memory', 'pids'];
const cgroup1Needs = ['cpu', 'memory', 'pids', 'freezer'];

/** Bits of capability sets, from linux/capability.h. */
const neededCapabilities = Object.freeze({
  CAP_CHOWN: 0,
  CAP_DAC_OVERRIDE: 1,
  CAP_KILL: 5,
  CAP_SETGID: 6,
  CAP_SETUID: 7,
  CAP_SETPCAP: 8,
  CAP_NET_ADMIN: 12,
  CAP_SYS_CHROOT: 18,
  CAP_SYS_ADMIN: 21,
  CAP_MKNOD: 27,
});

/** Makes what a container is made of, in namespaces that end with the shell: a probe that succeeds is the best check. */
const sandboxProbe = `mount -t tmpfs none /tmp && mkdir /tmp/lower /tmp/upper /tmp/work /tmp/root &&
mount -t overlay none -o lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work /tmp/root &&
mount -t proc none /tmp/lower`;

/**
 * Looks at this machine. Takes some tens of milliseconds, most of it the probe.
 * @param {NodeJS.ProcessEnv} [environment]
 * @returns {Machine}
 */
export function readMachine(environment = process.env) {
  const mounts = readText('/proc/self/mounts');
  const cgroup2 = cgroupMounts(mounts).find((mount) => mount.version === 2);
  const programs = Object.keys(packageOfProgram).filter((program) => findProgram(program, environment) !== undefined);
  const user = environment.STOKE_USER || 'stoke';
  return {
    platform: process.platform,
    architecture: arch(),
    kernel: release(),
    glibc: ['/lib64/ld-linux-x86-64.so.2', '/lib/ld-linux-aarch64.so.1'].some((loader) => existsSync(loader)),
    uid: process.geteuid?.() ?? -1,
    status: readText('/proc/self/status'),
    mounts,
    cgroup2Controllers: cgroup2 ? readText(join(cgroup2.path, 'cgroup.controllers')) : '',
    seccompActions: readText('/proc/sys/kernel/seccomp/actions_avail'),
    sandboxFailure: probeSandbox(),
    node: process.versions.node,
    programs,
    redisVersion: programs.includes('redis-server') ? run('redis-server', ['--version']).stdout : '',
    redisNeeded: !environment.STOKE_REDIS_URL || !environment.STOKE_REDIS_VOLATILE_URL,
    user,
    userExists: readText('/etc/passwd')
      .split('\n')
      .some((line) => line.startsWith(`${user}:`)),
  };
}

/**
 * What no package can bring: the kernel, its features and the privilege to use them.
 * @param {Machine} machine
 * @returns {Check[]}
 */
export function checkMachine(machine) {
  if (machine.platform !== 'linux') {
    return [
      missing('linux', machine.platform, 'Stoke is made of Linux containers; use a Linux machine or a virtual one'),
    ];
  }
  return [
    checkKernel(machine),
    checkArchitecture(machine),
    atLeast(machine.node, oldestNode)
      ? ok('node', machine.node)
      : missing('node', machine.node, 'Node 18 or newer: https://nodejs.org/en/download'),
    checkPrivilege(machine),
    checkSandbox(machine),
    ...checkCgroups(machine),
    /\berrno\b/.test(machine.seccompActions) && /\bkill_process\b/.test(machine.seccompActions)
      ? ok('seccomp', 'filters')
      : missing('seccomp', 'no filters', 'boot a kernel with CONFIG_SECCOMP_FILTER; Debian and Ubuntu kernels have it'),
  ];
}

/**
 * What set-up installs or creates: programs and the unprivileged user.
 * @param {Machine} machine
 * @returns {Check[]}
 */
export function checkPrograms(machine) {
  const needed = Object.entries(packageOfProgram).filter(
    ([program]) => machine.redisNeeded || program !== 'redis-server',
  );
  const checks = needed.map(([program, debianPackage]) => {
    if (!machine.programs.includes(program)) {
      return missing(program, 'not on PATH', `apt-get install ${debianPackage}`);
    }
    return program === 'redis-server' ? checkRedis(machine.redisVersion) : ok(program, 'found');
  });
  const { user } = machine;
  checks.push(
    machine.userExists
      ? ok('user', user)
      : missing('user', `no "${user}"`, `useradd --system --no-create-home --shell /usr/sbin/nologin ${user}`),
  );
  return checks;
}

/** @param {Machine} machine */
function checkKernel({ kernel }) {
  return atLeast(kernel, oldestKernel)
    ? ok('linux', kernel)
    : missing('linux', kernel, `Linux ${oldestKernel.join('.')} or newer; Debian 11 and Ubuntu 22.04 have one`);
}

/** @param {Machine} machine */
function checkArchitecture({ architecture, glibc }) {
  const found = `${architecture}${glibc ? '' : ', no glibc'}`;
  return ['x64', 'arm64'].includes(architecture) && glibc
    ? ok('architecture', found)
    : missing('architecture', found, 'x86-64 or arm64 with the GNU C library, for the Node binary that containers use');
}

/** @param {Machine} machine */
function checkPrivilege({ uid, status }) {
  if (uid !== 0) return missing('root', `uid ${uid}`, 'run as root, for example: sudo npm start');
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`);
  const lacking = Object.entries(neededCapabilities).filter(([, bit]) => ((effective >> BigInt(bit)) & 1n) === 0n);
  if (lacking.length === 0) return ok('root', 'with the capabilities needed');
  const names = lacking.map(([name]) => name).join(', ');
  return missing('root', `without ${names}`, 'in a container, start it with --privileged; else use the machine itself');
}

/** @param {Machine} machine */
function checkSandbox({ sandboxFailure, uid }) {
  if (sandboxFailure === null) return ok('namespaces and overlayfs', 'made and mounted');
  const remedy =
    uid === 0
      ? 'load the module with: modprobe overlay; in a container, start it with --privileged'
      : 'run as root: this cannot be tried without';
  return missing('namespaces and overlayfs', sandboxFailure, remedy);
}

/**
 * Version 2 when its controllers are there; else version 1, whose controllers are mounts of their own.
 * @param {Machine} machine
 * @returns {Check[]}
 */
function checkCgroups({ mounts, cgroup2Controllers }) {
  const found = cgroupMounts(mounts);
  const unified = found.find((mount) => mount.version === 2);
  const has2 = cgroup2Controllers.split(/\s+/);
  const lacks2 = cgroup2Needs.filter((controller) => !has2.includes(controller));
  if (unified && lacks2.length === 0) {
    if (!unified.options.includes('rw')) return [readOnlyCgroup(unified.path)];
    const checks = [ok('cgroup', `version 2 with ${cgroup2Needs.join(', ')}`)];
    if (!unified.options.includes('favordynmods')) checks.push(favorDynamicModifications(unified.path));
    return checks;
  }
  const legacy = cgroup1Needs.map((name) => found.find((mount) => mount.version === 1 && mount.options.includes(name)));
  const lacks1 = cgroup1Needs.filter((_, index) => legacy[index] === undefined);
  const readOnly = legacy.find((mount) => mount && !mount.options.includes('rw'));
  if (readOnly) return [readOnlyCgroup(readOnly.path)];
  if (lacks1.length === 0) return [ok('cgroup', `version 1 with ${cgroup1Needs.join(', ')}`)];
  const lacks = lacks1.length < cgroup1Needs.length ? lacks1 : lacks2;
  return [
    missing(
      'cgroup',
      `no controller ${lacks.join(', ')}`,
      unified
        ? 'boot with systemd.unified_cgroup_hierarchy=1, and cgroup_enable=memory where the memory controller is off'
        : 'mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup',
    ),
  ];
}

/** @param {string} path */
function readOnlyCgroup(path) {
  return missing('cgroup', `${path} is read-only`, 'in a container, start it with --privileged --cgroupns=host');
}

/**
 * Host-wide and not undoable while the hierarchy lives, hence the operator's choice.
 * @param {string} path
 * @returns {Check}
 */
function favorDynamicModifications(path) {
  return {
    name: 'cgroup attach',
    state: 'advice',
    found: 'without favordynmods, moving a process to another cgroup may take milliseconds',
    remedy: `if nothing else on the machine minds: mount -o remount,favordynmods ${path}`,
  };
}

/** @param {string} output of `redis-server --version`; Valkey prints the same form */
function checkRedis(output) {
  const version = /\bv=(\d+\.\d+[\d.]*)/.exec(output)?.[1];
  if (version && atLeast(version, oldestRedis)) return ok('redis-server', version);
  return missing(
    'redis-server',
    version ?? 'a version it does not tell',
    `Redis ${oldestRedis.join('.')} or newer, for example from Debian 12 or https://redis.io/docs/latest/operate/oss_and_stack/install/`,
  );
}

/**
 * @param {string} mounts text of /proc/self/mounts
 * @returns {{ version: 1 | 2, path: string, options: string[] }[]}
 */
export function cgroupMounts(mounts) {
  /** @type {{ version: 1 | 2, path: string, options: string[] }[]} */
  const found = [];
  for (const line of mounts.split('\n')) {
    const [, path = '', type, options = ''] = line.split(' ');
    if (type === 'cgroup' || type === 'cgroup2') {
      found.push({ version: type === 'cgroup' ? 1 : 2, path, options: options.split(',') });
    }
  }
  return found;
}

/**
 * The file that PATH finds.
 * @param {string} program
 * @param {NodeJS.ProcessEnv} [environment]
 */
export function findProgram(program, environment = process.env) {
  for (const folder of (environment.PATH || '/usr/sbin:/usr/bin:/sbin:/bin').split(delimiter)) {
    const file = join(folder, program);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not in this folder: look in the next.
    }
  }
  return undefined;
}

/** @returns {string | null} why it failed */
function probeSandbox() {
  const namespaces = ['--mount', '--uts', '--ipc', '--net', '--cgroup', '--pid', '--fork', '--kill-child'];
  const { status, stderr } = run('unshare', [...namespaces, 'sh', '-c', sandboxProbe]);
  if (status === 0) return null;
  return stderr.trim().split('\n')[0] || `unshare ended with status ${status}`;
}

/**
 * @param {string} command
 * @param {string[]} args
 */
function run(command, args) {
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
  const result = spawnSync(command, args, { encoding: 'utf8', timeout: 10_000, env: { ...env, LC_ALL: 'C' } });
  return { status: result.status, stdout: result.stdout ?? '', stderr: result.stderr || result.error?.message || '' };
}

/** @param {string} file */
function readText(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // A file that is not there is a feature that is not there; the checks say which.
    return '';
  }
}

/**
 * @param {string} version beginning with numbers and dots
 * @param {number[]} wanted
 */
function atLeast(version, wanted) {
  const numbers = version.split(/[^\d]+/).map(Number);
  for (const [index, want] of wanted.entries()) {
    const have = numbers[index] ?? 0;
    if (have !== want) return have > want;
  }
  return true;
}

/**
 * @param {string} name
 * @param {string} found
 * @returns {Check}
 */
function ok(name, found) {
  return { name, state: 'ok', found };
}

/**
 * @param {string} name
 * @param {string} found
 * @param {string} remedy
 * @returns {Check}
 */
function missing(name, found, remedy) {
  return { name, state: 'missing', found, remedy };
}
