/** Copies a template (`templates/node/<language>/`) to a new function's folder. Overwrites nothing. */
import { lstat, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { functionNameSchema } from '../contracts/function.ts';
import { CliError } from './output.ts';

const templatesFolder = fileURLToPath(new URL('../../templates/node/', import.meta.url));

/** Files that keep another name in this repository, where their own would take effect. */
const storedNames: Record<string, string> = { gitignore: '.gitignore' };

export interface CreatedFunction {
  name: string;
  folder: string;
  template: string;
  files: string[];
}

/** @throws CliError when a file is in the way, or no name can be had from the folder's */
export async function createFunction(options: {
  folder: string;
  template: 'typescript' | 'javascript';
  name?: string | undefined;
}): Promise<CreatedFunction> {
  const folder = resolve(options.folder);
  const name = options.name === undefined ? nameFromFolder(basename(folder)) : checkName(options.name);
  const source = join(templatesFolder, options.template);
  const files = (await readdir(source)).map((stored) => ({ stored, name: storedNames[stored] ?? stored })).sort(byName);
  await refuseExisting(
    folder,
    files.map((file) => file.name),
  );
  await mkdir(folder, { recursive: true });
  for (const file of files) {
    const text = await readFile(join(source, file.stored), 'utf8');
    await writeFile(join(folder, file.name), fillIn(file.name, text, name), { flag: 'wx' });
  }
  return { name, folder, template: options.template, files: files.map((file) => file.name) };
}

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1;
}

function fillIn(file: string, text: string, name: string): string {
  if (file !== 'fn.json') return text.replaceAll('{{name}}', name);
  return `${JSON.stringify({ ...(JSON.parse(text) as object), name }, undefined, 2)}\n`;
}

async function refuseExisting(folder: string, names: string[]): Promise<void> {
  const checks = await Promise.all(names.map(async (name) => ((await exists(join(folder, name))) ? [name] : [])));
  const existing = checks.flat();
  if (existing.length === 0) return;
  throw new CliError(`${folder} already has ${existing.join(', ')}`, {
    code: 'file_exists',
    details: { folder, files: existing },
    remedy: 'nothing was written; name another folder: fn init <dir>',
  });
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return false;
    if (code === 'ENOTDIR') throw new CliError(`cannot make the folder: ${message}`, { code: 'file_exists' });
    throw error;
  }
}

function checkName(name: string): string {
  const parsed = functionNameSchema.safeParse(name);
  if (parsed.success) return name;
  throw new CliError(`name "${name}": ${parsed.error.issues[0]?.message}`, { exitCode: 2 });
}

/** `My App_2` becomes `my-app-2`. */
function nameFromFolder(folderName: string): string {
  const name = folderName
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 63)
    .replace(/^-+|-+$/g, '');
  if (name !== '') return name;
  throw new CliError(`the folder's name "${folderName}" gives no name for the function`, {
    remedy: 'give one with: fn init --name <name>',
  });
}
