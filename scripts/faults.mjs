// npm run faults -- [--only TEXT] [--short] [--list] [--json] [--without]
// Builds what is needed, then injects faults into a running vifd and judges each. See faults/main.ts.
import { spawnSync } from 'node:child_process';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildFaults } from './build-faults.mjs';

const setup = fileURLToPath(new URL('setup.mjs', import.meta.url));
// Standard output is for the result alone: it may be JSON.
const { status } = spawnSync(process.execPath, [setup], { stdio: ['ignore', 2, 2] });
if (status !== 0) process.exit(status ?? 1);
await import(pathToFileURL(buildFaults()).href);
