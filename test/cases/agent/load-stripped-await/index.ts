import './side.ts';
const cjs = await import('./old.ts');
export const handler = () => cjs.default.value;
