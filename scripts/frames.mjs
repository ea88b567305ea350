// npm run frames -- [--quick] [--seed N] [--only TEXT] [--json]
// Builds vifd and the table, then runs the table: it compares vifd's frames with the kernel's and scapy's. See frames/main.ts.
import { spawnSync } from 'node:child_process';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildFrames } from './build-frames.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);
// Standard output is for the result alone: it may be JSON.
const { status } = spawnSync(process.execPath, [`${root}scripts/setup.mjs`], { stdio: ['ignore', 2, 2] });
if (status !== 0) process.exit(status ?? 1);
await import(pathToFileURL(buildFrames()).href);
