export default { name: 'greeter', fetch() { return new Response(`I am ${this.name}`); } };
