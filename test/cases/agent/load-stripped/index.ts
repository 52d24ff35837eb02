// In TypeScript `one < two > (three)` is a call with a type argument; this file is JavaScript already.
import { typeless } from './lib.js';
import { indexed } from './folder';
import { bare } from './bare';
import common from './common.cts';
const [one, two, three] = [1, 2, 3];
export const handler = () => [one < two > (three), typeless, indexed, bare, common.value].join(' ');
