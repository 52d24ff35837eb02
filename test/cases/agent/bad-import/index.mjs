import { z } from 'no-such-package';
export const handler = () => z;
