/** Loads the entry module and finds the handler in it; says in one line why not. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AgentSettings } from '../../../services/contracts/agent.ts';
import type { ErrorBody } from '../../../services/contracts/errors.ts';
import { describeThrown, relative } from './failures.ts';
import { findHandler, type Handler } from './find-handler.ts';
import { loadStrippedSources } from './stripped-sources.ts';
import { locateSyntaxError } from './syntax-location.ts';

export type Loaded = { handler: Handler } | { failure: ErrorBody };

/**
 * @param root folder of the function
 * @param done called once; before `loadHandler` returns unless the module has a top-level await
 */
export function loadHandler(root: string, settings: AgentSettings, done: (loaded: Loaded) => void): void {
  const path = join(root, settings.entry);
  const fail = (error: unknown) => done({ failure: loadFailure(error, root, settings) });
  let exports: unknown;
  try {
    if (settings.stripped) loadStrippedSources(root);
    exports = createRequire(`${root}/`)(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException | null)?.code !== 'ERR_REQUIRE_ASYNC_MODULE') {
      fail(error);
      return;
    }
    import(pathToFileURL(path).href).then((module) => done(handlerOf(module, settings)), fail);
    return;
  }
  done(handlerOf(exports, settings));
}

function handlerOf(exports: unknown, settings: AgentSettings): Loaded {
  const handler = findHandler(exports);
  if (!('found' in handler)) return { handler };
  const expected = 'expected `export default { fetch(request, context) }` or `export const handler`';
  const message = `${settings.entry} exports no handler: ${expected}; found: ${handler.found}`;
  return { failure: { code: 'function_unloadable', message, details: { found: handler.found } } };
}

/** Why loading failed, as the author of the function should read it. */
export function loadFailure(error: unknown, root: string, settings: AgentSettings): ErrorBody {
  const { message, name, stack } = describeThrown(error, root);
  const failure = (text: string, more: Record<string, unknown> = {}): ErrorBody => ({
    code: 'function_unloadable',
    message: text,
    details: { name, stack, ...more },
  });
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  if (code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND') {
    if (!existsSync(join(root, settings.entry))) return failure(`entry module "${settings.entry}" does not exist`);
    return failure(missingModule((error as Error).message, root));
  }
  if (error instanceof SyntaxError) {
    const location = locateSyntaxError(error, root, settings.entry, settings.stripped);
    const where = location ? `${location.file}:${location.line}: ` : '';
    return failure(`${where}${name}: ${message}`, { ...location });
  }
  const thrown = error instanceof Error ? `${name}: ${message}` : message;
  return failure(`${settings.entry} threw while loading: ${thrown}`);
}

/** Node's message in one line, with the remedy when a package is missing. */
function missingModule(message: string, root: string): string {
  const [first = '', , importer] = message.split('\n');
  const from = importer?.startsWith('- ') && !importer.endsWith('/noop.js') ? ` required by ${importer.slice(2)}` : '';
  const isPackage = /(?:package|module) '(?![./]|node:)/.test(first);
  const remedy = isPackage ? '; add it to "dependencies" in package.json and deploy again' : '';
  return relative(`${first.replace(/^C/, 'c')}${from}`, root) + remedy;
}
