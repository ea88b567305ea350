// npm run sim -- [--seeds N] [--seed S] [--kills N] [--no-exhaustive] [--mutations] [--take-overs] [--json]
// Builds what is needed, then kills the backend on the model of Xen, again and again. See sim/main.ts.
import { pathToFileURL } from 'node:url';
import { setUpPrograms } from './build-programs.mjs';

await import(pathToFileURL(`${setUpPrograms('sim')}main.js`).href);
