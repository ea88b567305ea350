// npm run bench -- [gap | soak | neighbours] [--quick] [--json] [--write-docs] [--only TEXT]
// Builds what is needed, then compares lib/netback with the same work in C++ (bench/native); see bench/main.ts. `gap` and `soak`: their folders.
import { spawnSync } from 'node:child_process';
import { rmSync, symlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));

function run(command, args, stdio = 'inherit') {
  const { status } = spawnSync(command, args, { stdio });
  if (status !== 0) process.exit(status ?? 1);
}

// Standard output is for the result alone: it may be JSON.
run(process.execPath, ['scripts/setup.mjs'], ['inherit', 2, 2]);
rmSync('build/bench', { recursive: true, force: true });
run('node_modules/.bin/tsc', ['-p', 'bench/tsconfig.json']);
// The compiler puts lib beside what imports it. Measured is dist, which is what users run.
rmSync('build/bench/lib', { recursive: true });
symlinkSync('../../dist', 'build/bench/lib');
const [first, ...rest] = process.argv.slice(2);
const own = ['gap', 'soak', 'neighbours'].includes(first);
const args = own ? rest : process.argv.slice(2);
run(process.execPath, [`build/bench/bench/${own ? `${first}/` : ''}main.js`, ...args]);
