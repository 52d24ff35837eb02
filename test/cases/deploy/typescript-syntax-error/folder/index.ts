export default {
	fetch(request: Request): Response {
		const body: = 1;
		return new Response(body);
	},
};
