// npm run bench -- [gap | soak | neighbours | store] [--quick] [--json] [--write-docs] [--only TEXT]
// Builds what is needed, then compares lib/netback with the same work in C++ (bench/native); see bench/main.ts. The named ones: their folders.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { setUpPrograms } from './build-programs.mjs';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));

function run(command, args, stdio = 'inherit') {
  const { status } = spawnSync(command, args, { stdio });
  if (status !== 0) process.exit(status ?? 1);
}

const programs = setUpPrograms('bench');
const [first, ...rest] = process.argv.slice(2);
const own = ['gap', 'soak', 'neighbours', 'store'].includes(first);
const args = own ? rest : process.argv.slice(2);
run(process.execPath, [`${programs}${own ? `${first}/` : ''}main.js`, ...args]);
