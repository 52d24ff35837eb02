/** Where the command line keeps what it can make again: installed dependencies, compiled code of its own. */
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

/** `$XDG_CACHE_HOME/stoke`, or `~/.cache/stoke`. A relative XDG_CACHE_HOME counts as unset, as its specification says. */
export function cacheFolder(environment: NodeJS.ProcessEnv): string {
  const given = environment.XDG_CACHE_HOME;
  return join(given && isAbsolute(given) ? given : join(homedir(), '.cache'), 'stoke');
}
