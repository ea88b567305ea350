/**
 * `npm run lab -- [options] COMMAND`: makes the checkout ready, then runs COMMAND in the dom0 of a real Xen under
 * emulation. See lab/README.md.
 */
import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

// Stdout is only for the command.
const setup = spawnSync(process.execPath, [`${root}scripts/setup.mjs`], { stdio: ['ignore', 2, 2] });
if (setup.status !== 0) process.exit(125);

const lab = spawn(`${root}lab/lab.sh`, process.argv.slice(2), { stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => lab.kill('SIGTERM'));
lab.on('exit', (code) => process.exit(code ?? 125));
