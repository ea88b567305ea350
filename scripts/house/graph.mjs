/** Which file imports which, among the TypeScript files of folders of the checkout. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

/**
 * @param {string} root of the checkout.
 * @param {readonly string[]} folders below it.
 * @returns {Map<string, string[]>} by file, the files that it imports, types too; paths are relative to the root.
 */
export function importsIn(root, folders) {
  const files = folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => /\.c?ts$/.test(file) && !file.includes('node_modules'))
      .map((file) => join(folder, file)),
  );
  return new Map(files.map((file) => [file, importsOf(root, file)]));
}

function importsOf(root, file) {
  const text = readFileSync(join(root, file), 'utf8');
  const found = text.matchAll(/^(?:import|export) [^;]*?from '(\.[^']+)'/gms);
  const paths = [...found].map(([, path]) => relative(root, resolve(root, dirname(file), path)));
  return [...new Set(paths.map((path) => path.replace(/\.js$/, '.ts')))];
}

/** @returns {string[][]} the circles among nodes: Tarjan's strongly connected components of more than one node. */
export function circlesOf(arrows) {
  const [order, lowest] = [new Map(), new Map()];
  const [path, circles] = [[], []];
  const visit = (node) => {
    order.set(node, order.size);
    lowest.set(node, order.get(node));
    path.push(node);
    for (const to of arrows.get(node) ?? []) {
      if (!order.has(to)) visit(to);
      if (path.includes(to)) lowest.set(node, Math.min(lowest.get(node), lowest.get(to)));
    }
    if (lowest.get(node) !== order.get(node)) return;
    const component = path.splice(path.indexOf(node));
    if (component.length > 1) circles.push(component);
  };
  for (const node of arrows.keys()) if (!order.has(node)) visit(node);
  return circles;
}

/** @returns {Map<string, Set<string>>} the arrows between rooms: `roomOf` gives a file's room. */
export function roomsOf(imports, roomOf) {
  const rooms = new Map();
  for (const [file, targets] of imports) {
    const room = roomOf(file);
    const set = rooms.get(room) ?? rooms.set(room, new Set()).get(room);
    for (const to of targets) if (roomOf(to) !== room) set.add(roomOf(to));
  }
  return rooms;
}

/** @returns {number} floors: how many files are in the longest chain of imports. */
export function floorsOf(imports) {
  const heights = new Map();
  const height = (file) => {
    if (heights.has(file)) return heights.get(file);
    heights.set(file, 0);
    const below = (imports.get(file) ?? []).filter((to) => imports.has(to)).map(height);
    heights.set(file, 1 + Math.max(0, ...below));
    return heights.get(file);
  };
  return Math.max(0, ...[...imports.keys()].map(height));
}
