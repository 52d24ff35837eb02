import { join } from 'node:path';

export const helper = join('a', 'b');
export default { broken: 1, , };
