/**
 * `npm run bench:xen -- [--quick] [--json] [--write-docs] [--rounds N] [--only SUBJECTS] [--against NAME=CHECKOUT]`: vifd,
 * xen-netback and QEMU's netback on a real Xen, in turns at one guest, in one boot of the lab. See lab/bench/main.ts.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { BENCH_XEN } from './bench/programs.mjs';
import { setUpPrograms } from './build-programs.mjs';
import { parseOrExit } from './options.mjs';
import { pack } from './pack-lab.mjs';

parseOrExit(BENCH_XEN, process.argv.slice(2));
process.chdir(fileURLToPath(new URL('..', import.meta.url)));

setUpPrograms('lab');
pack();
const { status } = spawnSync(process.execPath, ['build/lab/lab/bench/main.js', ...process.argv.slice(2)], {
  stdio: 'inherit',
});
process.exit(status ?? 1);
