// npm run faults -- [--only TEXT] [--short] [--list] [--json] [--without]
// Builds what is needed, then injects faults into a running vifd and judges each. See faults/main.ts.
import { pathToFileURL } from 'node:url';
import { setUpPrograms } from './build-programs.mjs';

await import(pathToFileURL(`${setUpPrograms('faults')}main.js`).href);
