import { expect, test } from 'vitest';
import { median, percentile, summarize } from '../../../bench/support/statistics.ts';

test('a percentile is a value that was measured, by nearest rank', () => {
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
  expect([0, 1, 50, 95, 99, 100].map((percent) => percentile(hundred, percent))).toEqual([1, 1, 50, 95, 99, 100]);
  expect(percentile([3, 7], 51)).toBe(7);
});

test('a summary does not depend on the order, and sorts as numbers', () => {
  const values = [100, 9, 20];
  expect(summarize(values)).toEqual({ n: 3, p50: 20, p95: 100, p99: 100, min: 9, max: 100, mean: 43 });
  expect(values).toEqual([100, 9, 20]);
});

test('of a single value everything is that value', () => {
  expect(summarize([4])).toEqual({ n: 1, p50: 4, p95: 4, p99: 4, min: 4, max: 4, mean: 4 });
});

test('nothing has no median', () => {
  expect(() => median([])).toThrow('no values');
});
