/** `npm run demo`: builds the checkout if it is out of date, then runs demo/. In this process, so that a signal to it ends the demo. */
import { existsSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { setUpPrograms } from './build-programs.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

if (!existsSync(`${root}build/Release/vifd.node`)) {
  console.error('first run: installing dependencies and building, which takes a minute or two');
}
await import(pathToFileURL(`${setUpPrograms('demo')}main.js`).href);
