/** `test/cases/deploy/<case>/folder` is prepared for a deploy; `expected.txt` beside it says what comes of it. */
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { prepareDeploy } from '../../../services/cli/deploy/prepare.ts';
import { CliError } from '../../../services/cli/output.ts';

const cases = fileURLToPath(new URL('../../cases/deploy/', import.meta.url));

async function prepare(folder: string): Promise<string> {
  try {
    const { entry, code } = await prepareDeploy(folder, { temporary: tmpdir() });
    const files = code.entries.map((each) => `  ${each.path}${each.type === 'made' ? ' (compiled)' : ''}`);
    return [`entry: ${entry}`, `stripped: ${code.stripped}`, 'files:', ...files].join('\n');
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    return [`error ${error.code}: ${error.message}`, ...(error.remedy ? [error.remedy] : [])].join('\n');
  }
}

test.each(readdirSync(cases))('the folder of the case "%s" is prepared, or refused, as expected', async (name) => {
  const text = await prepare(join(cases, name, 'folder'));
  await expect(`${text}\n`).toMatchFileSnapshot(join(cases, name, 'expected.txt'));
});
