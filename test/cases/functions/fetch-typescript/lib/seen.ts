export interface Seen {
  method: string;
  path: string;
  headers: [string, string][];
  body: string;
}

export async function describe(request: Request): Promise<Seen> {
  const { pathname, search } = new URL(request.url);
  const body = Buffer.from(await request.arrayBuffer()).toString('base64');
  return { method: request.method, path: pathname + search, headers: [...request.headers], body } satisfies Seen;
}
