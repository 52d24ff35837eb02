/** Warnings of Node that tell an author nothing useful about a deployed function. */
const hidden = new Set(['MODULE_TYPELESS_PACKAGE_JSON']);

/** Keeps them out of the function's log; all others go their way. */
export function hideWarnings(): void {
  const emit = process.emitWarning as (...args: unknown[]) => void;
  process.emitWarning = ((...args: unknown[]) => {
    if (!hidden.has(warningCode(args))) emit.apply(process, args);
  }) as typeof process.emitWarning;
}

/** `emitWarning(warning, { code })` or `emitWarning(warning, type, code)`. */
function warningCode(args: unknown[]): string {
  const options = args[1];
  if (typeof options === 'object' && options !== null) return String((options as { code?: unknown }).code);
  return String(args[2]);
}
