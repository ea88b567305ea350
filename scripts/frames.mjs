// npm run frames -- [--quick] [--seed N] [--only TEXT] [--json]
// Builds vifd and the table, then runs the table: it compares vifd's frames with the kernel's and scapy's. See frames/main.ts.
import { fileURLToPath, pathToFileURL } from 'node:url';
import { setUpPrograms } from './build-programs.mjs';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
await import(pathToFileURL(`${setUpPrograms('frames')}main.js`).href);
