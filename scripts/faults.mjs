// npm run faults -- [--only TEXT] [--short] [--list] [--json]
// Builds what is needed, then injects faults into a running vifd and judges each. See faults/main.ts.
import { spawnSync } from 'node:child_process';
import { rmSync, symlinkSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

function run(command, args) {
  // Standard output is for the result alone: it may be JSON.
  const { status } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) process.exit(status ?? 1);
}

run(process.execPath, ['scripts/setup.mjs']);
rmSync(`${root}build/faults`, { recursive: true, force: true });
run('node_modules/.bin/tsc', ['-p', 'faults/tsconfig.json']);
// The compiler puts lib beside what imports it. What runs is dist, which is what users run.
rmSync(`${root}build/faults/lib`, { recursive: true });
symlinkSync('../../dist', `${root}build/faults/lib`);
await import(pathToFileURL(`${root}build/faults/faults/main.js`).href);
