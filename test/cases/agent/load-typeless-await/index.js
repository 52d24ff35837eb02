// Neither extension nor package.json say that this is a module; Node would warn about that.
import { value } from './lib.js';
export const handler = () => value;
