/**
 * `npm run bench -- [gap | death | soak | steps | stream | neighbours | workers | memory | store] [options]`: reads the options (scripts/bench/programs.mjs), builds what is needed, then
 * compares lib/netback with the same work in C++ (bench/native, bench/main.ts), or runs the named program of bench/.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BENCH, OTHERS } from './bench/programs.mjs';
import { buildPrograms, setUpPrograms } from './build-programs.mjs';
import { parseOrExit } from './options.mjs';

const [first, ...rest] = process.argv.slice(2);
if (first === 'steps') {
  process.argv.splice(2, 1);
  await import('./bench-steps.mjs');
  process.exit();
}
const isOther = Object.hasOwn(OTHERS, first ?? '');
const args = isOther ? rest : process.argv.slice(2);
const values = parseOrExit(isOther ? OTHERS[first] : BENCH, args);
const { quick = false, json = false, 'write-docs': writeDocs = false, only = '', compare } = values;
// Below, the working directory is another.
const saved = compare === undefined ? {} : { compare: resolve(compare) };
const options = JSON.stringify({ quick, json, 'write-docs': writeDocs, only, ...saved });

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
if (process.stderr.isTTY) process.stderr.write('bench: builds what has changed\n');
const programs = setUpPrograms('bench');
for (const folder of (isOther && OTHERS[first].runs) || []) buildPrograms(folder);
const command = isOther ? [`${first}/main.js`, ...args] : ['main.js', '--options', options];
const child = spawn(process.execPath, [programs + command[0], ...command.slice(1)], { stdio: 'inherit' });
// A terminal's Ctrl-C reaches the program by itself, a signal to this process alone does not. The program ends in order, and then this does.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
const [status] = await once(child, 'exit');
process.exit(status ?? 1);
