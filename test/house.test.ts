import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../', import.meta.url));
const LINES_OF_A_FILE_MAX = 400;

/** Which rooms of lib/ a room may import besides itself. A file that belongs to no room here needs a place first. */
const LIB: Record<string, readonly string[]> = {
  'error-table': [],
  errors: ['error-table'],
  text: [],
  version: [],
  'at-most': [],
  undo: ['errors'],
  addon: ['errors'],
  protocol: [],
  durable: [],
  xen: ['durable', 'errors'],
  backoff: ['xen'],
  'wait-at-most': ['xen'],
  'xen/store': ['at-most', 'errors', 'xen'],
  'xen/native': ['addon', 'backoff', 'errors', 'undo', 'xen', 'xen/store'],
  host: ['addon', 'backoff', 'durable', 'errors', 'text', 'xen'],
  runtime: ['backoff', 'errors', 'host', 'netback/faults', 'xen'],
  ports: ['addon', 'errors', 'host', 'protocol', 'text', 'xen'],
  'netback/vif-info': [],
  'netback/settings': [],
  'netback/faults': ['errors'],
  'netback/ring': ['backoff', 'durable', 'errors', 'protocol', 'undo', 'xen', 'netback/faults'],
  'netback/frames': [
    ...['durable', 'errors', 'ports', 'protocol', 'text', 'xen'],
    ...['netback/settings', 'netback/vif-info'],
  ],
  'netback/guest': [
    ...['durable', 'errors', 'ports', 'protocol', 'text', 'undo', 'xen'],
    ...['netback/faults', 'netback/frames', 'netback/ring', 'netback/settings'],
  ],
  'netback/show': [
    ...['errors', 'protocol'],
    ...['netback/frames', 'netback/guest', 'netback/ring', 'netback/settings', 'netback/vif-info'],
  ],
  'netback/public-vif': ['errors', 'ports', 'netback/frames', 'netback/show', 'netback/vif-info'],
  'netback/state': [
    ...['durable', 'errors', 'ports', 'protocol', 'xen'],
    ...['netback/frames', 'netback/guest', 'netback/settings', 'netback/vif-info'],
  ],
  'netback/queue': [
    ...['durable', 'errors', 'ports', 'protocol', 'undo', 'xen'],
    ...['netback/faults', 'netback/frames', 'netback/guest', 'netback/ring', 'netback/settings'],
    ...['netback/show', 'netback/state'],
  ],
  'netback/vif': [
    ...[
      'at-most',
      'backoff',
      'durable',
      'errors',
      'ports',
      'protocol',
      'text',
      'undo',
      'wait-at-most',
      'xen',
    ],
    ...['netback/faults', 'netback/frames', 'netback/guest', 'netback/public-vif', 'netback/queue'],
    ...['netback/settings', 'netback/show', 'netback/state', 'netback/vif-info'],
  ],
  netback: [
    ...['durable', 'errors', 'host', 'ports', 'runtime', 'text', 'wait-at-most', 'xen'],
    ...['netback/frames', 'netback/public-vif', 'netback/settings', 'netback/vif', 'netback/vif-info'],
  ],
  daemon: [
    ...['addon', 'at-most', 'durable', 'errors', 'host', 'ports', 'protocol', 'runtime', 'text'],
    ...['xen', 'xen/native'],
    ...['netback', 'netback/frames', 'netback/public-vif', 'netback/ring'],
    ...['netback/settings', 'netback/show', 'netback/vif', 'netback/vif-info'],
  ],
  workers: [
    ...['addon', 'at-most', 'backoff', 'daemon', 'durable', 'errors', 'host', 'ports', 'protocol', 'text'],
    ...['runtime', 'version', 'wait-at-most', 'xen', 'xen/native'],
    ...['netback', 'netback/faults', 'netback/frames', 'netback/ring', 'netback/settings', 'netback/show'],
    ...['netback/vif', 'netback/vif-info'],
  ],
  'cli/checks': ['host', 'xen', 'xen/native', 'xen/store'],
  cli: [
    ...[
      'cli/checks',
      'daemon',
      'errors',
      'host',
      'protocol',
      'text',
      'version',
      'workers',
      'xen',
      'xen/store',
    ],
    ...['netback', 'netback/frames', 'netback/show', 'netback/vif', 'netback/vif-info'],
  ],
  'testing/xenstored': ['errors', 'xen', 'xen/store'],
  'testing/model': ['durable', 'errors', 'testing/netfront', 'testing/xenstored', 'xen'],
  'testing/netfront': ['errors', 'ports', 'protocol', 'xen', 'xen/native', 'xen/store'],
  'testing/rehearsal': ['ports', 'testing/model', 'testing/netfront', 'xen'],
  index: [
    ...['daemon', 'durable', 'errors', 'host', 'ports', 'protocol', 'xen', 'xen/native'],
    ...['netback', 'netback/frames', 'netback/public-vif', 'netback/ring', 'netback/settings'],
    ...['netback/show', 'netback/vif', 'netback/vif-info'],
  ],
};

/** The programs beside lib/, and which of each other's files they may use. */
const PROGRAMS: Record<string, readonly string[]> = {
  worlds: [],
  programs: ['worlds'],
  demo: ['programs', 'worlds'],
  sim: ['programs', 'worlds'],
  frames: ['programs', 'worlds'],
  faults: ['programs', 'worlds'],
  // The soak test runs the demo, and reads its summary.
  bench: ['demo', 'programs', 'worlds'],
  lab: ['programs'],
  examples: [],
  // A test runs a program, or tries a part of it.
  test: ['bench', 'demo', 'examples', 'faults', 'frames', 'lab', 'programs', 'sim', 'worlds'],
};

/** Their own vocabulary of time and chance would hide nondeterminism from the model: both come through the seam. */
const PURE = /^(protocol|durable|netback(\/.*)?|testing\/(netfront|model))$/;
const IMPURE_CALLS = /\b(Date\.now|Math\.random|setTimeout|setInterval|setImmediate|performance\.now)\b/;
/** Programs and the one clock that may. */
const IMPURE_FILES = [
  'lib/testing/netfront/guest.ts',
  'lib/testing/model/clock.ts',
  'lib/testing/model/queue.ts',
];

function sources(folder: string, ending: RegExp): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => ending.test(file) && !file.includes('node_modules'))
    .map((file) => join(folder, file));
}

const textOf = (file: string) => readFileSync(join(root, file), 'utf8');

/** @returns the room that a file of lib/ belongs to: itself, or the folder. */
function roomOf(file: string): string {
  const path = relative('lib', file).replace(/\.[jt]s$/, '');
  return path in LIB ? path : dirname(path);
}

interface Graph {
  importsIn(root: string, folders: readonly string[]): Map<string, string[]>;
  circlesOf(arrows: ReadonlyMap<string, readonly string[]>): string[][];
}

const { importsIn, circlesOf }: Graph = await import(`${root}scripts/house/graph.mjs`);
const imports = importsIn(root, ['lib', ...Object.keys(PROGRAMS)]);
const importsOf = (file: string) => imports.get(file) ?? [];

const lib = sources('lib', /\.ts$/);
const programs = Object.keys(PROGRAMS).flatMap((folder) => sources(folder, /\.ts$/));

describe('the house', () => {
  it('has a place for every file of lib/', () => {
    expect(lib.filter((file) => !(roomOf(file) in LIB))).toEqual([]);
  });

  it('lets imports run one way', () => {
    const upward = lib.flatMap((file) => {
      const room = roomOf(file);
      const strangers = importsOf(file).filter(
        (to) => roomOf(to) !== room && !LIB[room]?.includes(roomOf(to)),
      );
      return strangers.map((to) => `${file} -> ${to}`);
    });
    expect(upward).toEqual([]);
  });

  it('has no room that is allowed to import another one which is allowed to import it', () => {
    expect(circlesOf(new Map(Object.entries(LIB)))).toEqual([]);
  });

  it('has no list that allows what no file does', () => {
    const used = new Set(
      lib.flatMap((file) => importsOf(file).map((to) => `${roomOf(file)} -> ${roomOf(to)}`)),
    );
    const allowed = Object.entries(LIB).flatMap(([room, rooms]) => rooms.map((to) => `${room} -> ${to}`));
    expect(allowed.filter((arrow) => !used.has(arrow))).toEqual([]);
  });

  it('has no circle of files, in lib/ or in the programs beside it', () => {
    expect(circlesOf(imports)).toEqual([]);
  });

  it('lets each program use lib/, and of the other programs only what is listed', () => {
    const strangers = programs.flatMap((file) => {
      const own = file.split('/')[0];
      const others = importsOf(file).filter((to) => {
        const folder = to.split('/')[0];
        return to.includes('/') && folder !== 'lib' && folder !== own && !PROGRAMS[own].includes(folder);
      });
      return others.map((to) => `${file} -> ${to}`);
    });
    expect(strangers).toEqual([]);
    const used = new Set(
      programs.flatMap((file) => importsOf(file).map((to) => `${file.split('/')[0]} -> ${to.split('/')[0]}`)),
    );
    const allowed = Object.entries(PROGRAMS).flatMap(([own, others]) =>
      others.map((to) => `${own} -> ${to}`),
    );
    expect(allowed.filter((arrow) => !used.has(arrow))).toEqual([]);
    expect(lib.flatMap(importsOf).filter((to) => !to.startsWith('lib/'))).toEqual([]);
  });

  it('names files after what they are', () => {
    const vague = [...lib, ...programs].filter((file) =>
      /\/(types|utils?|helpers?|misc|common)\.ts$/.test(file),
    );
    expect(vague).toEqual([]);
  });

  it('has one file that imports the native addon', () => {
    expect(lib.filter((file) => textOf(file).includes("from 'bindings'"))).toEqual(['lib/addon.ts']);
  });

  it('keeps files short enough to have one purpose', () => {
    const long = [...lib, ...sources('native', /\.(cc|h)$/)]
      .map((file) => ({ file, lines: textOf(file).split('\n').length - 1 }))
      .filter(({ lines }) => lines > LINES_OF_A_FILE_MAX);
    expect(long).toEqual([]);
  });

  it('decides nothing by a clock that jumps: only a log line has the time of day', () => {
    const jumping = /\bDate\.now\b|\bnew Date\b|CLOCK_REALTIME|\bgettimeofday\b|system_clock|\btime\(/;
    const files = [...lib, ...sources('native', /\.(cc|h)$/)]
      // xensim and its tests are no part of the daemon.
      .filter((file) => !/^native\/xensim\//.test(file))
      .filter((file) => jumping.test(textOf(file)));
    expect(files).toEqual(['lib/daemon/run-log.ts']);
  });

  it('takes time and chance from the seam', () => {
    const impure = lib
      .filter((file) => PURE.test(roomOf(file)) && !IMPURE_FILES.includes(file))
      .filter((file) => IMPURE_CALLS.test(textOf(file)));
    expect(impure).toEqual([]);
  });
});
