export function fail(message) {
  throw new RangeError(message);
}
