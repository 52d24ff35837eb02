/** Run by the tests as a plain Node process: the agent on descriptor 3, a socket to the test. Arguments: root, settings as JSON. */
import { serve, warmUp } from '../../../templates/node/agent/main.ts';

const [root, settings, warm] = process.argv.slice(2);
if (warm === 'warm') await warmUp();
serve({ controlFd: 3, settings: JSON.parse(settings as string), root: root as string });
