/** A result for people (a table on stdout) and for programs (`bench/results/<name>.json`). */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Budget, Cell, Column, Measured, Table } from './bench.ts';
import type { CommitDescription, MachineDescription } from './machine.ts';

export interface Report extends Measured {
  readonly name: string;
  /** What to type to have it again. */
  readonly command: string;
  readonly startedAt: string;
  readonly tookS: number;
  readonly n: number;
  readonly machine: MachineDescription;
  readonly commit: CommitDescription;
}

const folder = join(import.meta.dirname, '../results');

/** @returns the file, relative to the checkout */
export function storeReport(report: Report): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${report.name}.json`), `${JSON.stringify(report, undefined, 2)}\n`);
  return `bench/results/${report.name}.json`;
}

export function renderReport(report: Report): string {
  const { machine, commit } = report;
  const head = [
    `${report.name}: ${report.command}`,
    `  machine  ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGib} GiB; Linux ${machine.kernel}, cgroup ${machine.cgroup}; load ${machine.loadBefore.toFixed(1)} before`,
    `  commit   ${commit.id ?? 'unknown'}${commit.dirty ? ', with changes' : ''}; Node ${machine.node}, Redis ${machine.redis}`,
    `  run      ${report.startedAt}, ${Math.round(report.tookS)} s, n = ${report.n}${renderSettings(report.settings)}`,
  ];
  const tables = report.tables.map((table) => `\n${table.title}\n${renderTable(table)}`);
  const budgets = report.budgets.map(renderBudget);
  const notes = report.notes.map((note) => `note: ${note}`);
  return [
    ...head,
    ...tables,
    ...(budgets.length > 0 ? ['', ...budgets] : []),
    ...(notes.length > 0 ? ['', ...notes] : []),
  ].join('\n');
}

function renderSettings(settings: Measured['settings']): string {
  return Object.entries(settings)
    .map(([name, value]) => `, ${name} = ${value}`)
    .join('');
}

function renderTable({ columns, rows }: Table): string {
  const lines = [
    columns.map(({ label }) => label),
    ...rows.map((row) => columns.map((column) => cellText(row, column))),
  ];
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => line[index]?.length ?? 0)));
  const isText = columns.map(({ key }) => rows.some((row) => typeof row[key] === 'string'));
  const align = (text: string, index: number) =>
    isText[index] ? text.padEnd(widths[index] ?? 0) : text.padStart(widths[index] ?? 0);
  return lines.map((line) => `  ${line.map(align).join('  ')}`.trimEnd()).join('\n');
}

function cellText(row: Readonly<Record<string, Cell>>, { key, digits = 2 }: Column): string {
  const cell = row[key] ?? null;
  if (typeof cell === 'string') return cell;
  return cell === null ? '-' : cell.toFixed(digits);
}

function renderBudget({ what, unit, want, limit, actual }: Budget): string {
  const met = want === 'at most' ? actual <= limit : actual >= limit;
  const shown = actual >= 100 ? Math.round(actual) : actual.toFixed(2);
  return `${met ? 'met   ' : 'missed'}  ${what}: ${shown} ${unit}, want ${want} ${limit}`;
}
