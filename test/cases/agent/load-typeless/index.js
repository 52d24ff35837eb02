// No package.json: Node finds out by itself that this is a module.
import { basename } from 'node:path';
export const handler = () => basename(import.meta.filename);
