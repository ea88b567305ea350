/**
 * `npm run demo`: makes the checkout ready if it is not, then runs demo/. In this process, so that whoever ends
 * it ends the demo.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { setUpPrograms } from './build-programs.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

if (!existsSync(`${root}build/Release/vifd.node`)) {
  console.error('first run: installing dependencies and building, which takes a minute or two');
}
await import(pathToFileURL(`${setUpPrograms('demo')}main.js`).href);
