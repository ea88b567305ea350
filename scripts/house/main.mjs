/**
 * `npm run house`: measures how the tree is built, on this checkout: arrows between rooms, circles, floors, and how many files an event goes
 * through (trace.mjs). The tables of docs that cite these figures are from here. Needs a build.
 */
import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { circlesOf, floorsOf, importsIn, roomsOf } from './graph.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const PROGRAMS = ['demo', 'sim', 'frames', 'faults', 'bench', 'lab', 'examples', 'test'];

const lib = importsIn(root, ['lib']);
const all = importsIn(root, ['lib', ...PROGRAMS]);
const netback = new Map(
  [...lib]
    .filter(([file]) => file.startsWith('lib/netback/'))
    .map(([file, targets]) => [file, targets.filter((to) => to.startsWith('lib/netback/'))]),
);
const rooms = roomsOf(netback, roomOf);
const sum = (map) =>
  [...map.values()].reduce((total, targets) => total + (targets.length ?? targets.size), 0);
const rows = [
  ['circles of files, in lib/', circlesOf(lib).length],
  ['circles of files, in lib/ and all programs', circlesOf(all).length],
  ['circles of rooms, in lib/', circlesOf(roomsOf(lib, roomOf)).length],
  ['files of lib/netback/', netback.size],
  ['rooms of lib/netback/: folders, and files beside them', rooms.size],
  ['imports among files of lib/netback/', sum(netback)],
  ['of these, between its rooms', [...netback].flatMap(between).length],
  ['pairs of its rooms of which one imports the other', sum(rooms)],
  ['floors of lib/netback/', floorsOf(netback)],
];
for (const event of ['attach', 'from-guest', 'to-guest']) {
  const { stdout, status } = spawnSync(process.execPath, [`${root}scripts/house/trace.mjs`, event], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status !== 0) process.exit(status ?? 1);
  const { calls, stays, files, returns } = JSON.parse(stdout);
  rows.push([`${event}: calls / files / stays / returns`, `${calls} / ${files} / ${stays} / ${returns}`]);
}
for (const [what, figure] of rows) console.log(`${what.padEnd(56)}${figure}`);

function between([file, targets]) {
  return targets.filter((to) => roomOf(to) !== roomOf(file));
}

/** A folder is a room; a file beside folders is a room of its own. */
function roomOf(file) {
  const folder = dirname(file);
  return folder === 'lib' || folder === 'lib/netback' ? file : folder;
}
