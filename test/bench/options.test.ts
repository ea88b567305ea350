import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WORKER_FAULTS } from '../../bench/gap/worker-faults.js';
import { cellsOf } from '../../bench/measure.js';
import { ATTACKS } from '../../bench/neighbours/attacks/index.js';

interface Program {
  readonly command: string;
  readonly options: readonly { readonly name: string }[];
  readonly runs?: readonly string[];
}

const { BENCH, BENCH_XEN, DEATHS, MODES, OTHERS, ROWS } = (await import(
  `${process.cwd()}/scripts/bench/programs.mjs`
)) as {
  BENCH: Program;
  BENCH_XEN: Program;
  DEATHS: readonly string[];
  MODES: readonly string[];
  OTHERS: Readonly<Record<string, Program>>;
  ROWS: readonly string[];
};

describe('the options of the benches', () => {
  /** A checkout in which nothing can be built: a program that builds before it responds fails there. */
  let checkout: string;
  beforeAll(() => {
    checkout = mkdtempSync(join(tmpdir(), 'vifd-options-'));
    cpSync('scripts', join(checkout, 'scripts'), { recursive: true });
  });
  afterAll(() => rmSync(checkout, { recursive: true }));
  const run = (script: string, ...args: string[]) =>
    spawnSync(process.execPath, [join(checkout, 'scripts', script), ...args], { encoding: 'utf8' });

  it.each([
    ['bench.mjs'],
    ['bench.mjs', 'gap'],
    ['bench.mjs', 'death'],
    ['bench.mjs', 'soak'],
    ['bench.mjs', 'neighbours'],
    ['bench.mjs', 'store'],
    ['bench.mjs', 'stream'],
    ['bench.mjs', 'workers'],
    ['bench.mjs', 'memory'],
    ['bench-xen.mjs'],
    ['test-xen.mjs'],
  ])('print help before anything is built: %s %s', (script, ...words) => {
    const { status, stdout, stderr } = run(script, ...words, '--help');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^Usage: npm run .* \[options\]\n/);
    expect(stdout).toContain('--help');
  });

  it.each([
    [['bench.mjs', '--quik'], 'There is no option --quik; --quick may be meant.'],
    [['bench.mjs', '--frobnicate'], 'There is no option --frobnicate.'],
    [['bench.mjs', 'gab'], 'gab is no option.'],
    [['bench.mjs', '--quick=3'], '--quick has no value.'],
    [['bench.mjs', '--only'], '--only needs a value: TEXT.'],
    [['bench.mjs', '--only', '61 B'], "--only is '61 B': give a part of a row's name"],
    [['bench.mjs', '--compare', 'none.json'], "--compare is 'none.json': give a file that exists."],
    [['bench.mjs', '--write-docs', '--only', '60 B'], '--write-docs needs all rows: leave --only out.'],
    [['bench.mjs', '--write-docs', '--quick'], '--write-docs needs the whole run: leave --quick out.'],
    [['bench.mjs', 'gap', '--kills', '1e3'], "--kills is '1e3': give a whole number from 1 to 100000."],
    [['bench.mjs', 'gap', '--death', 'SIGHUP'], "--death is 'SIGHUP': give a part of SIGKILL,"],
    [['bench.mjs', 'gap', '--vifs', '1,0'], "--vifs is '1,0': give whole numbers from 1 to 200."],
    [['bench.mjs', 'soak', '--guests', '0'], "--guests is '0': give a whole number from 1 to 32."],
    [['bench.mjs', 'neighbours', '--mode', 'tx,teh'], "--mode is 'tx,teh': give some of none,"],
    [['bench.mjs', 'store', '--only', 'x'], 'There is no option --only.'],
    [['bench-xen.mjs', '--against', 'old'], "--against is 'old': give NAME=CHECKOUT."],
    [['test-xen.mjs', '--boot', 'here'], "--boot is 'here': give alone or beside"],
    [['test-xen.mjs', '--minutes', '0'], "--minutes is '0': give how long the run may take"],
  ] as const)('are refused before anything is built: %j', ([script, ...args], message) => {
    const { status, stdout, stderr } = run(script, ...args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toContain(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });

  it.each(['{"schemaVersion":1}', 'no JSON'])('refuse a saved run that is %s', (text) => {
    const saved = join(checkout, 'saved.json');
    writeFileSync(saved, text);
    const { status, stderr } = run('bench.mjs', '--compare', saved);
    expect(status).toBe(2);
    expect(stderr).toContain('give a file that --json of this version has printed.');
  });

  it.each([
    ...Object.entries(OTHERS).map(([name, program]) => [`bench/${name}/main.ts`, program] as const),
    ['lab/bench/main.ts', BENCH_XEN] as const,
  ])('are those that %s reads', (file, { options }) => {
    const read = [...readFileSync(file, 'utf8').matchAll(/(?:'([\w-]+)'|\b(\w+)): \{ type: '/g)];
    expect(options.map(({ name }) => name).sort()).toEqual(read.map(([, a, b]) => a ?? b).sort());
  });

  it('build the demo for those that run it', () => {
    const runsDemo = (name: string) =>
      /demo\/(programs|namespaces-world)\.js/.test(readFileSync(`bench/${name}/main.ts`, 'utf8'));
    const running = Object.keys(OTHERS).filter(runsDemo);
    expect(running).toEqual(['soak', 'stream']);
    for (const name of running) expect(OTHERS[name].runs).toEqual(['demo']);
  });

  it('name the rows and the attacks that there are', () => {
    const cells = [...cellsOf('from-guest'), ...cellsOf('to-guest')];
    expect(ROWS).toEqual(cells.map(({ direction, frame, batch }) => `${direction} ${frame.name} ${batch}`));
    expect(MODES).toEqual([...ATTACKS.map(({ name }) => name), 'shares']);
    expect(DEATHS).toEqual(WORKER_FAULTS.map(({ name }) => name));
    expect(BENCH.options.map(({ name }) => name)).toContain('compare');
  });

  it('name the boots that the tests on a real Xen have', () => {
    const source = readFileSync('scripts/test-xen.mjs', 'utf8');
    const boots = [...source.matchAll(/name: '([\w-]+)',\s+what:/g)].map(([, name]) => name);
    const { stdout } = run('test-xen.mjs', '--help');
    expect(boots.length).toBeGreaterThan(3);
    expect(stdout).toContain(`only tests of that boot: ${boots.join(', ')}\n`);
  });
});
