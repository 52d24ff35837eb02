import { helper } from './lib/helper.mjs';
export const handler = () => helper;
