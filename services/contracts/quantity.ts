/** Amounts as people write them: `128Mi`. Pure. */
const unitBytes = { '': 1, Ki: 1024, Mi: 1024 ** 2, Gi: 1024 ** 3 } as const;

/**
 * Parses `"128Mi"`, `"64Ki"`, `"1Gi"`, `"1048576"` to bytes.
 * @returns the bytes, or the reason why the text is not an amount
 */
export function parseBytes(text: string): { bytes: number } | { reason: string } {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text.trim());
  if (!match) return { reason: `"${text}" is not an amount; write for example "128Mi"` };
  const unit = match[2] as string;
  if (!(unit in unitBytes)) return { reason: `"${text}": unknown unit "${unit}"; use Ki, Mi or Gi` };
  return { bytes: Math.floor(Number(match[1]) * unitBytes[unit as keyof typeof unitBytes]) };
}

/** Bytes as the largest binary unit that keeps it readable: `1.5 Gi`, `128 Mi`, `17 B`. */
export function formatBytes(bytes: number): string {
  for (const unit of ['Gi', 'Mi', 'Ki'] as const) {
    const size = unitBytes[unit];
    if (bytes >= size) return `${Number((bytes / size).toFixed(1))} ${unit}`;
  }
  return `${bytes} B`;
}
