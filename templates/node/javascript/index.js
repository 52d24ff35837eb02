export default {
  /**
   * Answers every request to the function. `request` and the answer are the web's own Request and Response.
   * @param {Request} request
   * @param {{ id: string }} context
   * @returns {Promise<Response>}
   */
  async fetch(request, context) {
    const { searchParams } = new URL(request.url);
    const name = searchParams.get('name') ?? 'world';
    console.log(`greeting ${name}`);
    return Response.json({ greeting: `hello, ${name}`, invocation: context.id });
  },
};
