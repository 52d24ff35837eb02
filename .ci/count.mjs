// @ts-check
/**
 * Adds up vitest's JSON reports and prints `N passed, N failed`. Arguments: the reports, `--`, and the commands that
 * failed. A command that failed without a failed test (a type error, a machine that did not boot) counts as one failure.
 */
import { existsSync, readFileSync } from 'node:fs';

/** @typedef {{ numPassedTests: number, numFailedTests: number, testResults: { status: string, assertionResults: unknown[] }[] }} Report */

const separator = process.argv.indexOf('--');
const reports = process.argv.slice(2, separator).filter((file) => existsSync(file));
const failedCommands = process.argv.slice(separator + 1);

let passed = 0;
let failed = 0;
for (const file of reports) {
  /** @type {Report} */
  const report = JSON.parse(readFileSync(file, 'utf8'));
  passed += report.numPassedTests;
  failed += report.numFailedTests;
  // A file that could not be loaded has no tests to fail.
  failed += report.testResults.filter((each) => each.status === 'failed' && each.assertionResults.length === 0).length;
}
if (failed === 0) failed = failedCommands.length;
for (const command of failedCommands) console.log(`failed: ${command}`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
