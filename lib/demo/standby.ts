/**
 * A backend that waits for its turn: Node and all of the backend's modules are loaded, nothing of Xen is touched. At
 * its first message it becomes `vifd` with the arguments that it was started with.
 */
import { pathToFileURL } from 'node:url';
import 'commander';
import 'picocolors';
import '../netback/netback.js';
import '../ports/tap.js';
import '../xen/native/open.js';
import { addon } from '../addon.js';
import { BACKEND_PROGRAM } from './programs.js';

addon();

process.once('message', () => {
  process.argv[1] = BACKEND_PROGRAM;
  import(pathToFileURL(BACKEND_PROGRAM).href);
});
