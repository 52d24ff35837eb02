/**
 * Compiles a policy to a classic BPF program for seccomp(2). Pure: policy in, bytes out.
 * System call numbers become ranges of equal outcome, searched as a binary tree: about eight comparisons per call
 * instead of two hundred (measured: 0.036 ms against 0.31 ms to install, and cheaper on every call).
 */
import type { ArgumentTest, SeccompPolicy, SyscallAction } from './seccomp-policy.ts';
import { type SyscallName, syscallNumbers } from './syscall-numbers.ts';

export type Architecture = 'x64' | 'arm64';

/** One instruction of the filter: `struct sock_filter`. */
interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

type Outcome = SyscallAction | ArgumentTest;
interface Range {
  readonly from: number;
  readonly outcome: Outcome;
}

/** Offsets in `struct seccomp_data`; arguments are 64 bits wide, little-endian on both architectures. */
const offsets = { number: 0, architecture: 4, argument: (index: number) => 16 + 8 * index };
const auditArchitecture: Record<Architecture, number> = { x64: 0xc000003e, arm64: 0xc00000b7 };
/** Numbers with this bit are the x32 ABI of x86-64: a second door to the same calls. */
const x32Bit = 0x40000000;

const returnValue: Record<SyscallAction, number> = {
  allow: 0x7fff0000,
  EPERM: 0x00050000 | 1,
  ENOSYS: 0x00050000 | 38,
  kill: 0x80000000,
};

const load = (offset: number): Instruction => ({ code: 0x20, jt: 0, jf: 0, k: offset });
const ret = (action: SyscallAction): Instruction => ({ code: 0x06, jt: 0, jf: 0, k: returnValue[action] });
const jumpEqual = (k: number, jt: number, jf: number): Instruction => ({ code: 0x15, jt, jf, k });
const jumpAtLeast = (k: number, jt: number, jf: number): Instruction => ({ code: 0x35, jt, jf, k });
const jumpAnyBit = (k: number, jt: number, jf: number): Instruction => ({ code: 0x45, jt, jf, k });
const jump = (distance: number): Instruction => ({ code: 0x05, jt: 0, jf: 0, k: distance });

/** The program for one architecture, 8 bytes per instruction, ready for `seccomp(SECCOMP_SET_MODE_FILTER)`. */
export function compilePolicy(policy: SeccompPolicy, architecture: Architecture): Buffer {
  return encode([
    load(offsets.architecture),
    jumpEqual(auditArchitecture[architecture], 1, 0),
    ret('kill'),
    load(offsets.number),
    ...searchTree(ranges(policy, architecture)),
  ]);
}

/**
 * The filter a zygote runs under:
 * - `madvise(_, _, MADV_DONTFORK)` answers 0 and does nothing. V8 marks its heap with it, and without this a forked child
 *   dies at its first heap access.
 * - `io_uring_setup` does not exist. libuv would make rings, and insist on them in containers, where they are forbidden.
 */
export function zygoteFilter(architecture: Architecture): Buffer {
  const MADV_DONTFORK = 10;
  return encode([
    load(offsets.number),
    jumpEqual(numberOf('io_uring_setup', architecture) as number, 0, 1),
    ret('ENOSYS'),
    jumpEqual(numberOf('madvise', architecture) as number, 0, 3),
    load(offsets.argument(2)),
    jumpEqual(MADV_DONTFORK, 0, 1),
    { code: 0x06, jt: 0, jf: 0, k: 0x00050000 },
    ret('allow'),
  ]);
}

function numberOf(name: SyscallName, architecture: Architecture): number | null {
  return syscallNumbers[name][architecture === 'x64' ? 0 : 1];
}

/** Every number from 0 upwards, as ranges of equal outcome in ascending order. */
function ranges(policy: SeccompPolicy, architecture: Architecture): Range[] {
  const outcomes = new Map<number, Outcome>();
  const set = (name: SyscallName, outcome: Outcome) => {
    const number = numberOf(name, architecture);
    if (number !== null) outcomes.set(number, outcome);
  };
  for (const name of policy.allow) set(name, 'allow');
  for (const { syscall, test } of policy.allowIf) set(syscall, test);
  for (const name of policy.pretendMissing) set(name, 'ENOSYS');

  const known = Object.keys(syscallNumbers).map((name) => numberOf(name as SyscallName, architecture) ?? 0);
  const firstUnknown = Math.max(...known) + 1;
  const found: Range[] = [];
  for (let number = 0; number < firstUnknown; number++) {
    const outcome = outcomes.get(number) ?? 'EPERM';
    if (found.at(-1)?.outcome !== outcome) found.push({ from: number, outcome });
  }
  // Calls younger than this list do not exist as far as the container can tell: libraries then take their older way.
  found.push({ from: firstUnknown, outcome: 'ENOSYS' });
  if (architecture === 'x64') found.push({ from: x32Bit, outcome: 'kill' });
  return found;
}

/** A binary search over the ranges; the accumulator holds the number. */
function searchTree(sorted: readonly Range[]): Instruction[] {
  const [only] = sorted;
  if (only === undefined) throw new Error('a policy has at least one range');
  if (sorted.length === 1) return leaf(only.outcome);
  const middle = sorted.length >> 1;
  const left = searchTree(sorted.slice(0, middle));
  const right = searchTree(sorted.slice(middle));
  const split = (sorted[middle] as Range).from;
  // A conditional jump reaches 255 instructions; a plain one reaches any distance.
  if (left.length <= 255) return [jumpAtLeast(split, left.length, 0), ...left, ...right];
  return [jumpAtLeast(split, 0, 1), jump(left.length), ...left, ...right];
}

function leaf(outcome: Outcome): Instruction[] {
  if (typeof outcome === 'string') return [ret(outcome)];
  const value = load(offsets.argument(outcome.argument));
  if ('clearBits' in outcome) return [value, jumpAnyBit(outcome.clearBits, 0, 1), ret('EPERM'), ret('allow')];
  const [values, hit, miss] =
    'oneOf' in outcome ? ([outcome.oneOf, 'allow', 'EPERM'] as const) : ([outcome.noneOf, 'EPERM', 'allow'] as const);
  const tests = values.map((k, index) => jumpEqual(k, values.length - index, 0));
  return [value, ...tests, ret(miss), ret(hit)];
}

function encode(program: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(program.length * 8);
  program.forEach(({ code, jt, jf, k }, index) => {
    bytes.writeUInt16LE(code, index * 8);
    bytes[index * 8 + 2] = jt;
    bytes[index * 8 + 3] = jf;
    bytes.writeUInt32LE(k >>> 0, index * 8 + 4);
  });
  return bytes;
}
