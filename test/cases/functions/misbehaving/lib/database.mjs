export function fail(message) {
  throw new TypeError(message, { cause: new Error('the cause') });
}
