/** JSON with one form for each value: keys sorted, no white space. Equal values have equal digests. Pure. */

/** Bytes of the canonical form. Members that are `undefined` are left out, as by `JSON.stringify`. */
export function canonicalJson(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value, sortKeys), 'utf8');
}

function sortKeys(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const names = Object.keys(value).sort();
  // No prototype: a member called __proto__ stays a member.
  const sorted: Record<string, unknown> = Object.create(null);
  for (const name of names) sorted[name] = (value as Record<string, unknown>)[name];
  return sorted;
}
