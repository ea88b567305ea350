import { cpSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Site } from './sites.js';
import type { Tree } from './world/tree.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
export const LIB: string = join(ROOT, 'lib');
export const DIST: string = join(ROOT, 'dist');
const MUTANTS = join(ROOT, 'build/mutants');
const FAULTS = fileURLToPath(new URL('.', import.meta.url));

/** A copy of the compiled vifd without one of its calls. It starts from modules, so that no bundle is built for each copy. */
export function treeWithout(site: Site): Tree {
  // A loop that waits before each attempt must end, because without the wait it would retry without a pause.
  const instead = site.awaited ? 'new Promise(() => undefined)' : '(void 0)';
  return makeTree('without', [{ site, text: instead }]);
}

/** A copy that records which of the calls are made. */
export interface Observed {
  readonly tree: Tree;
  /** @returns the calls since the last question. */
  made(): readonly Site[];
}

export function observed(sites: readonly Site[]): Observed {
  const file = join(MUTANTS, 'made');
  const tree = makeTree(
    'observed',
    sites.map((site, i) => ({ site, text: `(globalThis.madeCall?.(${i}), ${site.call})` })),
  );
  const note = join(MUTANTS, 'note.cjs');
  writeFileSync(note, NOTE);
  writeFileSync(file, '');
  return {
    tree: { ...tree, node: ['--require', note], env: { ...tree.env, MADE_CALLS: file } },
    made: () => {
      const lines = readFileSync(file, 'utf8').split('\n');
      truncateSync(file);
      return [...new Set(lines.filter((line) => line !== ''))].map((line) => sites[Number(line)] as Site);
    },
  };
}

const NOTE = `
const fs = require('node:fs');
// Opened once, because some faults leave no descriptor for more.
const made = fs.openSync(process.env.MADE_CALLS, 'a');
globalThis.madeCall = (call) => fs.writeSync(made, call + '\\n');
`;

function makeTree(name: string, changes: readonly { readonly site: Site; readonly text: string }[]): Tree {
  const folder = join(MUTANTS, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  cpSync(DIST, join(folder, 'lib'), { recursive: true });
  cpSync(FAULTS, join(folder, 'faults'), { recursive: true });
  for (const bundle of ['run.bundle', 'verbs.bundle']) rmSync(join(folder, 'lib', bundle), { force: true });
  for (const file of new Set(changes.map(({ site }) => site.file))) {
    const path = join(folder, 'lib', file.replace(/\.ts$/, '.js'));
    let code = readFileSync(path, 'utf8');
    // From the end on: a change moves only the text behind it. Of nested calls the inner one comes first.
    const own = changes.filter(({ site }) => site.file === file).sort((a, b) => b.site.from - a.site.from);
    for (const { site, text } of own) code = code.slice(0, site.from) + text + code.slice(site.to);
    writeFileSync(path, code);
  }
  return {
    vifd: join(folder, 'lib/vifd.cjs'),
    faults: join(folder, 'faults'),
    node: [],
    env: { VIFD_ADDON: join(ROOT, 'build/Release/vifd.node') },
  };
}
