export default { fetch: () => new Response(<p>hello</p>) };
