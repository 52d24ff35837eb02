export const handler = () => 'esm handler';
