/** A folder's `fn.json` and `package.json`, with errors that say where they are wrong. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { describeIssues, type FunctionConfigInput, functionConfigSchema } from '../../contracts/function.ts';
import { CliError } from '../output.ts';
import { excerpt, positionAt } from './excerpt.ts';
import { findJsonMistake } from './json-syntax.ts';

/**
 * The function's settings as written: the gateway fills in what is absent.
 * @throws CliError `invalid_config` that names the field, or the line and column
 */
export async function readFunctionConfig(folder: string): Promise<FunctionConfigInput> {
  const text = await readText(join(folder, 'fn.json'));
  if (text === undefined) {
    throw new CliError(`${folder} has no fn.json`, {
      code: 'invalid_config',
      remedy: 'make a function with: fn init <dir>\nor write {"name": "<name>"} to fn.json',
    });
  }
  const document = parseJson('fn.json', text);
  const parsed = functionConfigSchema.safeParse(document);
  if (parsed.success) return document as FunctionConfigInput;
  throw new CliError(`fn.json: ${describeIssues(parsed.error)}`, {
    code: 'invalid_config',
    details: { file: 'fn.json', issues: parsed.error.issues.map(({ path, message }) => ({ path, message })) },
  });
}

const versionsSchema = z.record(z.string(), z.string()).optional();

/** What of a `package.json` a deploy looks at. */
const packageJsonSchema = z.object({
  type: z.string().optional(),
  main: z.string().optional(),
  module: z.string().optional(),
  dependencies: versionsSchema,
  optionalDependencies: versionsSchema,
  peerDependencies: versionsSchema,
  overrides: z.unknown().optional(),
});
export type PackageJson = z.infer<typeof packageJsonSchema>;

/**
 * @param path for the error, relative to the function's folder
 * @throws CliError `invalid_config` with line and column, or the field
 */
export function parsePackageJson(path: string, text: string): PackageJson {
  const parsed = packageJsonSchema.safeParse(parseJson(path, text));
  if (parsed.success) return parsed.data;
  throw new CliError(`${path}: ${describeIssues(parsed.error)}`, { code: 'invalid_config', details: { file: path } });
}

/** The file's text, or undefined when it is not there. */
export async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new CliError(`cannot read ${path}: ${message}`, { cause });
  }
}

function parseJson(file: string, text: string): unknown {
  const bare = text.replace(/^\uFEFF/, '');
  const mistake = findJsonMistake(bare);
  if (!mistake) return JSON.parse(bare);
  const position = positionAt(bare, mistake.index);
  throw new CliError(`${file}:${position.line}:${position.column}: not JSON: expected ${mistake.expected}`, {
    code: 'invalid_config',
    details: { file, ...position },
    remedy: excerpt(bare, position),
  });
}
