import { expect, test } from 'vitest';
import { afterExit, freshHistory, type RestartHistory } from '../../../services/cli/supervisor/restart-policy.ts';

/** Delays of deaths one after the other, each after `readyForMs` of readiness. */
function delays(deaths: number, readyForMs: number): number[] {
  let history: RestartHistory = { everReady: true, failures: 0 };
  return Array.from({ length: deaths }, () => {
    const result = afterExit(history, readyForMs);
    history = result.history;
    return result.decision.kind === 'restart' ? result.decision.delayMs : Number.NaN;
  });
}

test('the first restart is immediate, the next ones wait from 100 ms doubling to 5 s', () => {
  expect(delays(10, 5)).toEqual([0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
});

test('thirty seconds of health make the next restart immediate again', () => {
  expect(delays(3, 30_000)).toEqual([0, 0, 0]);
  expect(delays(3, 29_999)).toEqual([0, 100, 200]);
});

test('a process that was never ready gets three attempts', () => {
  const first = afterExit(freshHistory, undefined);
  const second = afterExit(first.history, undefined);
  const third = afterExit(second.history, undefined);
  expect([first, second, third].map(({ decision }) => decision.kind)).toEqual(['restart', 'restart', 'give-up']);
});

test('a hopeless first start gets one attempt', () => {
  expect(afterExit(freshHistory, undefined, true).decision).toEqual({ kind: 'give-up' });
});

test('what was ready once is restarted for ever, hopeless or not', () => {
  const history = { everReady: true, failures: 100 };
  expect(afterExit(history, undefined, true).decision).toEqual({ kind: 'restart', delayMs: 5000 });
});
