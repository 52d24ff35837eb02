export default (request) => new Response(`default ${new URL(request.url).pathname}`);
