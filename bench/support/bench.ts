/** What a benchmark is and what it hands back. Types only: `main.ts` runs it, `report.ts` prints and stores it. */

export interface Bench {
  /** One line for the list of benchmarks. */
  readonly summary: string;
  /** What `--n` counts, and how many of it without `--n`. */
  readonly counts: string;
  readonly defaultN: number;
  run(options: RunOptions): Promise<Measured>;
}

export interface RunOptions {
  readonly n: number;
  /** Ends it early; what it made is removed all the same. */
  readonly signal: AbortSignal;
  /** What is being done now, for who watches. */
  progress(text: string): void;
}

/** Everything that is measured is a row of a table: flat records, so that a reader of the JSON needs no other document. */
export interface Measured {
  readonly tables: readonly Table[];
  readonly budgets: readonly Budget[];
  /** What was chosen, apart from `n`. */
  readonly settings: Readonly<Record<string, number | string>>;
  /** What the figures do not say of themselves, for example a baseline that could not run here and why. */
  readonly notes: readonly string[];
}

export type Cell = number | string | null;

export interface Table {
  readonly title: string;
  readonly columns: readonly Column[];
  readonly rows: readonly Readonly<Record<string, Cell>>[];
}

export interface Column {
  /** Of the rows' fields; names its unit. */
  readonly key: string;
  readonly label: string;
  /** Decimal places of numbers; 2 when absent. */
  readonly digits?: number;
}

/** A figure that the project has set itself. Reported, never enforced: a machine may be slow or busy. */
export interface Budget {
  readonly what: string;
  readonly unit: string;
  readonly want: 'at most' | 'at least';
  readonly limit: number;
  readonly actual: number;
}
