/** Epoch milliseconds with fractions: what deadlines and stage times are told in between processes of one machine. */
export function epochMs(): number {
  return performance.timeOrigin + performance.now();
}
