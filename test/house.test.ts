import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../', import.meta.url));
const LINES_OF_A_FILE_MAX = 400;

/** Which folders of lib/ a folder may import besides itself. What stands in no list here is a new room: place it. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  errors: [],
  text: [],
  addon: ['errors'],
  host: ['errors', 'addon'],
  protocol: [],
  'journal-files': ['errors', 'addon', 'netback'],
  'run-lock': ['errors', 'addon', 'runtime-directory'],
  'runtime-directory': ['errors', 'text'],
  version: [],
  output: ['addon'],
  'at-most': [],
  backoff: ['xen/types'],
  'xen/types': ['errors'],
  'xen/store': ['at-most', 'errors', 'xen/types'],
  'xen/model': ['errors', 'xen/types', 'xen/store'],
  'xen/native': ['backoff', 'errors', 'addon', 'xen/types', 'xen/store'],
  ports: ['backoff', 'errors', 'addon', 'host', 'protocol', 'xen/types'],
  netback: ['at-most', 'backoff', 'errors', 'text', 'protocol', 'ports', 'xen/types'],
  netfront: ['errors', 'protocol', 'ports', 'xen/types', 'xen/native', 'xen/store', 'xen/model'],
  'service-manager': ['backoff', 'errors', 'text', 'addon', 'xen/types'],
  cli: [
    'errors',
    'backoff',
    'text',
    'host',
    'service-manager',
    'output',
    'journal-files',
    'run-lock',
    'runtime-directory',
    'version',
    'protocol',
    'ports',
    'netback',
    'xen/types',
    'xen/native',
    'xen/store',
  ],
  demo: [
    'errors',
    'host',
    'cli',
    'journal-files',
    'protocol',
    'ports',
    'netback',
    'netfront',
    'xen/types',
    'xen/native',
    'xen/store',
    'xen/model',
    'addon',
  ],
  index: ['errors', 'journal-files', 'ports', 'netback', 'xen/types', 'xen/native'],
};

/** Own vocabulary of these would hide nondeterminism from the model: time and chance come through the seam. */
const PURE = ['protocol', 'netback', 'netfront', 'xen/model'];
const IMPURE_CALLS = /\b(Date\.now|Math\.random|setTimeout|setInterval|setImmediate|performance\.now)\b/;
/** Programs and the one clock that may. */
const IMPURE_FILES = ['lib/netfront/guest.ts', 'lib/xen/model/clock.ts', 'lib/xen/model/queue.ts'];

function sources(folder: string, ending: RegExp): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => ending.test(file))
    .map((file) => join(folder, file));
}

/** @returns the key of MAY_IMPORT that a file of lib/ belongs to. */
function roomOf(file: string): string {
  const path = relative('lib', file).replace(/\.[jt]s$/, '');
  const rooms = Object.keys(MAY_IMPORT).sort((a, b) => b.length - a.length);
  return rooms.find((room) => path === room || path.startsWith(`${room}/`)) ?? path;
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(/^(?:import|export) [^;]*?from '(\.[^']+)'/gms)].map((match) =>
    relative(root, resolve(root, dirname(file), match[1])),
  );
}

const lib = sources('lib', /\.ts$/);

describe('the house', () => {
  it('has a place for every file of lib/', () => {
    expect(lib.filter((file) => !(roomOf(file) in MAY_IMPORT))).toEqual([]);
  });

  it('lets imports run one way', () => {
    const upward = lib.flatMap((file) => {
      const room = roomOf(file);
      const strangers = importsOf(file).filter(
        (to) => roomOf(to) !== room && !MAY_IMPORT[room]?.includes(roomOf(to)),
      );
      return strangers.map((to) => `${file} -> ${to}`);
    });
    expect(upward).toEqual([]);
  });

  it('has one file that imports the native addon', () => {
    const importers = lib.filter((file) =>
      readFileSync(join(root, file), 'utf8').includes("from 'bindings'"),
    );
    expect(importers).toEqual(['lib/addon.ts']);
  });

  it('keeps files short enough to have one purpose', () => {
    const long = [...lib, ...sources('native', /\.(cc|h)$/)]
      .map((file) => ({ file, lines: readFileSync(join(root, file), 'utf8').split('\n').length - 1 }))
      .filter(({ lines }) => lines > LINES_OF_A_FILE_MAX);
    expect(long).toEqual([]);
  });

  it('decides nothing by a clock that jumps: only a log line has the time of day', () => {
    const jumping = /\bDate\.now\b|\bnew Date\b|CLOCK_REALTIME|\bgettimeofday\b|system_clock|\btime\(/;
    const files = [...lib, ...sources('native', /\.(cc|h)$/)]
      // The demo's display shows a time; xensim and its tests are no part of the daemon.
      .filter((file) => !/^(lib\/demo|native\/xensim)\//.test(file))
      .filter((file) => jumping.test(readFileSync(join(root, file), 'utf8')));
    expect(files).toEqual(['lib/cli/run-log.ts']);
  });

  it('takes time and chance from the seam', () => {
    const impure = lib
      .filter((file) => PURE.includes(roomOf(file)) && !IMPURE_FILES.includes(file))
      .filter((file) => IMPURE_CALLS.test(readFileSync(join(root, file), 'utf8')));
    expect(impure).toEqual([]);
  });
});
