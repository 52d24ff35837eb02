/** The worker's decisions and checks that need nothing but values. */
import { expect, test } from 'vitest';
import { encodeHeadAndBody } from '../../../services/contracts/frames.ts';
import { answerHeadSchema } from '../../../services/contracts/invocation.ts';
import { checkAnswerHead } from '../../../services/worker/answer-head.ts';
import { readInstanceError } from '../../../services/worker/instance-error.ts';
import { nextInstanceState } from '../../../services/worker/instance-state.ts';
import { LineSplitter, maxLineLength } from '../../../services/worker/line-splitter.ts';
import { OutputBudget, outputBytes } from '../../../services/worker/output-budget.ts';
import { decideStart, type NodeCounts, type VersionCounts } from '../../../services/worker/start-policy.ts';

const version: VersionCounts = {
  waiters: 1,
  starting: 0,
  instances: 0,
  concurrency: 1,
  maxInstances: 4,
  failedLately: false,
};
const node: NodeCounts = { starting: 0, instances: 0, maxStarts: 2, maxInstances: 8, idle: 0 };

test.each<[string, Partial<VersionCounts>, Partial<NodeCounts>, ReturnType<typeof decideStart>]>([
  ['a waiter without a start', {}, {}, 'start'],
  ['as many starts as waiters', { waiters: 2, starting: 2, instances: 2 }, { starting: 2 }, 'covered'],
  ['one start for as many waiters as it will run', { waiters: 4, starting: 1, concurrency: 4 }, {}, 'covered'],
  ['one waiter more than that', { waiters: 5, starting: 1, instances: 1, concurrency: 4 }, { starting: 1 }, 'start'],
  ['a version at its limit', { instances: 4 }, { instances: 4 }, 'function_limit'],
  ['a node at its limit of starts', {}, { starting: 2, instances: 2 }, 'node_starts'],
  ['a full node with an idle instance', {}, { instances: 8, idle: 1 }, 'evict'],
  ['a full node without one', {}, { instances: 8 }, 'node_limit'],
  ['a version whose last start failed', { failedLately: true }, {}, 'start'],
  ['a second start of it', { waiters: 2, starting: 1, instances: 1, failedLately: true }, { starting: 1 }, 'careful'],
])('start policy: %s', (_, versionCounts, nodeCounts, decision) => {
  expect(decideStart({ ...version, ...versionCounts }, { ...node, ...nodeCounts })).toBe(decision);
});

test('an instance that is gone stays gone, and nothing can be given to it', () => {
  for (const event of ['ready', 'drained', 'retired', 'ended'] as const)
    expect(nextInstanceState('gone', event)).toBe('gone');
  for (const state of ['gone', 'retiring', 'starting'] as const)
    expect(() => nextInstanceState(state, 'taken')).toThrow('has no step "taken"');
});

test.each<[unknown]>([
  [{ status: 200, headers: [], end: true, handlerMs: 0.5 }],
  [{ status: 599, headers: ['a', 'b'], end: false, handlerMs: 0 }],
  [{ status: 199, headers: [], end: true, handlerMs: 1 }],
  [{ status: 200.5, headers: [], end: true, handlerMs: 1 }],
  [{ status: 200, headers: ['a', 1], end: true, handlerMs: 1 }],
  [{ status: 200, headers: 'a', end: true, handlerMs: 1 }],
  [{ status: 200, headers: [], end: 'yes', handlerMs: 1 }],
  [{ status: 200, headers: [], end: true }],
  [null],
  [7],
])('the check of heads by hand agrees with the schema on %j', (head) => {
  const payload = encodeHeadAndBody(JSON.stringify(head), Buffer.from('body'));
  if (answerHeadSchema.safeParse(head).success) expect(checkAnswerHead(payload)).toEqual(head);
  else expect(() => checkAnswerHead(payload)).toThrow(/^head: /);
});

test('a head whose length contradicts its frame is refused', () => {
  expect(() => checkAnswerHead(Buffer.from([0, 0, 0, 9, 123]))).toThrow('longer than its frame');
  expect(() => checkAnswerHead(Buffer.alloc(2))).toThrow('longer than its frame');
});

test('an instance’s error keeps codes that are its to use, and loses its stack', () => {
  const read = (value: unknown) => readInstanceError(Buffer.from(JSON.stringify(value)), 'handler_error');
  expect(read({ code: 'invalid_request', message: 'no JSON' }).body.code).toBe('invalid_request');
  expect(read({ code: 'instance_exited', message: 'x' }).body.code).toBe('instance_exited');
  expect(read({ code: 'no_capacity', message: 'x' }).body.code).toBe('handler_error');
  expect(read({ code: 'handler_error', message: 'm', details: { stack: ['at a', 'at b'], name: 'E' } })).toEqual({
    body: { code: 'handler_error', message: 'm', details: { name: 'E' } },
    text: 'E: m\n    at a\n    at b',
  });
  expect(() => read({ code: 'handler_error' })).toThrow('no message');
  expect(() => read(null)).toThrow('not an object');
});

test('lines come out whole, however their bytes were cut', () => {
  const text = 'grün\r\n\nzwei drei\nrest ohne Ende ✓';
  for (const size of [1, 2, 3, 7, 100]) {
    const lines: string[] = [];
    const splitter = new LineSplitter();
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.byteLength; at += size)
      splitter.push(bytes.subarray(at, at + size), (line) => lines.push(line));
    splitter.flush((line) => lines.push(line));
    expect(lines).toEqual(['grün', '', 'zwei drei', 'rest ohne Ende ✓']);
  }
});

test('a line without end is cut once and holds no more memory than that', () => {
  const lines: string[] = [];
  const splitter = new LineSplitter();
  for (let chunk = 0; chunk < 100; chunk++) splitter.push(Buffer.alloc(10_000, 'x'), (line) => lines.push(line));
  splitter.push(Buffer.from('\nnext\n'), (line) => lines.push(line));
  expect(lines).toEqual([`${'x'.repeat(maxLineLength)} … (line cut at 16 KiB)`, 'next']);
});

test('a budget says once that it is spent; one for stray output is full again later', () => {
  const own = new OutputBudget(false, 0);
  expect([own.spend(outputBytes), own.spend(1), own.spend(1)]).toEqual(['keep', 'cut', 'drop']);
  expect(own.spend(1, 1e9)).toBe('drop');
  const stray = new OutputBudget(true, 0);
  expect([stray.spend(outputBytes + 1, 0), stray.spend(1, 9_999), stray.spend(1, 10_000)]).toEqual([
    'cut',
    'drop',
    'keep',
  ]);
});
