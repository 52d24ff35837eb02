/** The place of a mistake in a text, shown with the lines before it and a marker. Pure. */

/** Both count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Lines shown before the one with the mistake. */
const contextLines = 2;
const maxColumns = 120;

/**
 * ```
 *   2 | export default {
 * > 3 |   foo(: }
 *     |       ^
 * ```
 */
export function excerpt(text: string, { line, column }: Position): string {
  const lines = text.split(/\r?\n/);
  const width = String(line).length;
  // A minified line: show the part around the mistake.
  const shift = column > maxColumns ? column - maxColumns / 2 : 0;
  const cut = (source: string) => source.replaceAll('\t', ' ').slice(shift, shift + maxColumns);
  const shown = lines.slice(Math.max(0, line - 1 - contextLines), line).map((source, index, all) => {
    const number = line - all.length + 1 + index;
    return `${number === line ? '>' : ' '} ${String(number).padStart(width)} | ${cut(source)}`.trimEnd();
  });
  return [...shown, `  ${' '.repeat(width)} | ${' '.repeat(Math.max(0, column - 1 - shift))}^`].join('\n');
}

/** Of the character at `index`. */
export function positionAt(text: string, index: number): Position {
  const before = text.slice(0, index);
  return { line: before.split('\n').length, column: index - before.lastIndexOf('\n') };
}
