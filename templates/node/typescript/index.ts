import type { FnContext } from './fn.d.ts';

export default {
  /** Answers every request to the function. `request` and the answer are the web's own Request and Response. */
  async fetch(request: Request, context: FnContext): Promise<Response> {
    const { searchParams } = new URL(request.url);
    const name = searchParams.get('name') ?? 'world';
    console.log(`greeting ${name}`);
    return Response.json({ greeting: `hello, ${name}`, invocation: context.id });
  },
};
