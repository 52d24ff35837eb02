/** Where a syntax error is, read from the excerpt that Node puts in front of its stack. Pure. */
import { CliError } from '../output.ts';
import { excerpt, type Position } from './excerpt.ts';

export interface SyntaxProblem extends Position {
  readonly message: string;
}

/**
 * ```
 * name:3
 * a line of the source
 *   ^^^^
 *
 * SyntaxError: …
 * ```
 * @param parser `v8` marks by characters; `swc`, behind `stripTypeScriptTypes`, by cells of a terminal
 */
export function readProblem(source: string, stack: string, parser: 'v8' | 'swc'): SyntaxProblem {
  const lines = stack.split('\n');
  const number = Number(/:(\d+)$/.exec(lines[0] ?? '')?.[1] ?? 1);
  const marker = lines.find((line) => /^\s*\^+\s*$/.test(line)) ?? '^';
  const text = source.split(/\r?\n/)[number - 1] ?? '';
  const offset = marker.indexOf('^');
  const message = lines.find((line) => /^\w*Error\b/.test(line))?.replace(/^\w*Error(?: \[\w+\])?: /, '');
  return {
    line: number,
    column: 1 + (parser === 'v8' ? offset : characterAtCell(text, offset)),
    // swc goes on to list every token of the language that could stand there.
    message: message?.replace(/\. Expected (?:[^,]*,){3}.*$/, '') ?? 'syntax error',
  };
}

/** swc shows a tab as four cells and a wide character as two. */
function characterAtCell(text: string, cell: number): number {
  let index = 0;
  let cells = 0;
  for (const character of text) {
    if (cells >= cell) break;
    cells += character === '\t' ? 4 : isWide.test(character) ? 2 : 1;
    index += character.length;
  }
  return index;
}

const isWide =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;

/** The problem as an error for the person who deploys. */
export function syntaxError(path: string, source: string, problem: SyntaxProblem): CliError {
  const { line, column, message } = problem;
  const hint = hintFor(source, problem);
  return new CliError(`${path}:${line}:${column}: ${message}`, {
    code: 'syntax_error',
    details: { file: path, line, column, message },
    remedy: `${excerpt(source, problem)}${hint ? `\n${hint}` : ''}`,
  });
}

export const jsxRemedy = 'JSX needs a build step: bundle it to JavaScript, and deploy the folder with the result';

function hintFor(source: string, { line, message }: SyntaxProblem): string | undefined {
  if (/'<'|Expression expected/.test(message) && looksLikeJsx(source, line)) return jsxRemedy;
  if (!/outside a module|^Unexpected token 'export'$/.test(message)) return undefined;
  return 'it is loaded as CommonJS; for an ES module write "type": "module" in package.json';
}

function looksLikeJsx(source: string, line: number): boolean {
  return /<\/?[A-Za-z>]/.test(source.split('\n')[line - 1] ?? '');
}
