/**
 * `npm run demo`: makes the checkout ready if it is not, then runs lib/demo. In this process, so that whoever ends
 * it ends the demo.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

if (!existsSync(`${root}build/Release/vifd.node`)) {
  console.error('first run: installing dependencies and building, which takes a minute or two');
}
// Stdout is for the demo's own: with --json a program reads it.
const setup = spawnSync(process.execPath, [`${root}scripts/setup.mjs`], { stdio: ['ignore', 2, 2] });
if (setup.status === 0) await import(pathToFileURL(`${root}dist/demo/main.js`).href);
else process.exitCode = 1;
