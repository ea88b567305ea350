/**
 * A backend process in reserve: Node and all of the backend's modules are loaded, but nothing of Xen is open. At its first message it becomes
 * `vifd` with the arguments that it was started with.
 */
import { addon } from '../lib/addon.js';
import { start } from '../lib/cli/start.js';

addon();

process.once('message', () => start(process.argv.slice(2)));
