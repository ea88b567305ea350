import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { whyNoAddon } from '../native/reason.js';
import {
  changesBehind,
  MARKER,
  PARTS,
  PHASES,
  type Phase,
  placeOf,
  Snapshots,
} from './store-order/memory.js';
import { COUNTS } from './store-order/rounds.mjs';

// Stops and kills a process that runs the real stores to rings and journals, and compares its memory with the order of the program's stores
// (docs/journal.md, "The order of stores"). VIFD_STORE_STOPS=100000 runs the long form, which prints what it saw.
const LONG = process.env.VIFD_STORE_STOPS !== undefined;
const STOPS = Number(process.env.VIFD_STORE_STOPS ?? 3000);
const KILLS = LONG ? Math.ceil(STOPS / 500) : 10;
const STEPS = LONG ? STOPS * 2 : 10_000;
/** The short form makes as many stops as it can in this time, and at least STOPS_MIN; in one of the other tiers a third of both. */
const STOPS_MS = LONG ? Number.POSITIVE_INFINITY : 1200;
const STOPS_MIN = 150;
const TIMEOUT_MS = LONG ? 1_800_000 : 60_000;
/** A faulty publisher is found after some stops; this many bound the search. */
const FAULT_STOPS = 6000;
/** Between two stops, at random. */
const RUN_MS_MAX = 0.3;
const POLL_MS = 0.02;
/** After the first round: while V8 replaces code by that of the next tier, or later. */
const KILL_MS_MAX = 80;

const CHILD = fileURLToPath(new URL('store-order/child.mjs', import.meta.url));
const STEPPER = fileURLToPath(new URL('store-order/steps.py', import.meta.url));
const whyNotStepped =
  process.arch !== 'x64' || spawnSync('python3', ['--version']).status !== 0
    ? 'needs x64 and python3'
    : undefined;

/** V8's other tiers, by flags. Node has Maglev since version 24. */
const TIERS: readonly (readonly [string, readonly string[]])[] = [
  ['Ignition', ['--no-opt', '--no-maglev', '--no-sparkplug']],
  ['Sparkplug', ['--no-opt', '--no-maglev', '--always-sparkplug']],
  ...(Number.parseInt(process.versions.node, 10) < 24
    ? []
    : ([['Maglev', ['--no-opt', '--maglev']]] as const)),
  [
    'TurboFan, with instructions scheduled at random',
    ['--allow-natives-syntax', '--turbo-stress-instruction-scheduling'],
  ],
];

const FAULTS = [
  'state before responses',
  'settled before the ring',
  'rsp_prod before responses',
  'next responses too early',
] as const;

/** A process that publishes, round after round. */
class Publisher {
  readonly directory = mkdtempSync('/dev/shm/vifd-stores-');
  readonly process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #snapshots: Snapshots | undefined;

  constructor(flags: readonly string[] = [], batches: keyof typeof COUNTS = 'any', fault?: string) {
    const args = [...flags, CHILD, this.directory, batches, ...(fault === undefined ? [] : [fault])];
    this.process = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#lines = createInterface(this.process.stdout!)[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.process.pid!;
  }

  /** Waits until its first round. */
  async begun(): Promise<void> {
    await this.#line();
    this.#snapshots = new Snapshots(this.directory);
  }

  /** Waits until its code is warm. */
  async warm(): Promise<{ readonly optimized?: boolean }> {
    await this.begun();
    return JSON.parse(await this.#line());
  }

  async #line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('the publisher has ended');
    return value;
  }

  /** Stops it, and returns its memory. */
  stop(): Uint32Array {
    process.kill(this.pid, 'SIGSTOP');
    while (!isStopped(this.pid)) sleep(POLL_MS);
    return this.read();
  }

  continue(): void {
    process.kill(this.pid, 'SIGCONT');
  }

  read(): Uint32Array {
    if (this.#snapshots === undefined) throw new Error('the publisher has not begun');
    return this.#snapshots.read();
  }

  async kill(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const exit = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await exit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    this.#snapshots?.close();
    rmSync(this.directory, { recursive: true });
  }
}

/** Whether the main thread is stopped (proc(5): the state follows the name). */
function isStopped(pid: number): boolean {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return stat.charAt(stat.lastIndexOf(')') + 2) === 'T';
}

const never = new Int32Array(new SharedArrayBuffer(4));

/** Blocks this thread. A test that polls without pause would lose its turn to the other processes of a busy machine. */
function sleep(ms: number): void {
  Atomics.wait(never, 0, 0, ms);
}

/** How many snapshots showed which phase, and how many showed memory that program order does not allow. */
class Tally {
  readonly phases = Object.fromEntries(PHASES.map((phase) => [phase, 0])) as Record<Phase, number>;
  wrong = 0;

  add(snapshot: Uint32Array): void {
    const place = placeOf(snapshot, COUNTS.any);
    if (place === undefined) this.wrong++;
    else this.phases[place.phase]++;
  }

  get all(): number {
    return this.wrong + Object.values(this.phases).reduce((sum, count) => sum + count, 0);
  }

  /** Snapshots between the first response of a batch and its end. */
  get midBatch(): number {
    const { responses, base, committed, slots, rsp_prod } = this.phases;
    return responses + base + committed + slots + rsp_prod;
  }
}

describe.skipIf(whyNoAddon())('a process that stores responses to a journal and a ring', () => {
  let publisher: Publisher | undefined;
  beforeEach(() => {
    publisher = undefined;
  });
  afterEach(async () => publisher?.[Symbol.asyncDispose]());

  /** Stops the publisher at random moments until `isDone`. */
  async function stopped(isDone: (tally: Tally, ranMs: number) => boolean): Promise<Tally> {
    const tally = new Tally();
    const start = performance.now();
    while (!isDone(tally, performance.now() - start)) {
      tally.add(publisher!.stop());
      publisher!.continue();
      sleep(Math.random() * RUN_MS_MAX);
      if (tally.all % 64 === 0) await setImmediate();
    }
    if (LONG) console.log(process.version, tally.all, 'stops', tally.phases);
    return tally;
  }

  const enough = (part: number) => (tally: Tally, ranMs: number) =>
    tally.all >= STOPS / part || (tally.all >= STOPS_MIN / part && ranMs >= STOPS_MS / part);

  it('has, whenever it is stopped, all stores up to one and none behind it', {
    timeout: TIMEOUT_MS,
  }, async () => {
    publisher = new Publisher(['--allow-natives-syntax']);
    expect(await publisher.warm()).toMatchObject({ optimized: true });
    const tally = await stopped(enough(1));
    expect(tally.wrong).toBe(0);
    expect(tally.midBatch).toBeGreaterThan(tally.all / 4);
  });

  it.each(TIERS)(
    'has them in that order as code of %s, too',
    { timeout: TIMEOUT_MS },
    async (_tier, flags) => {
      publisher = new Publisher(flags);
      expect((await publisher.warm()).optimized).not.toBe(false);
      const tally = await stopped(enough(3));
      expect(tally.wrong).toBe(0);
      expect(tally.midBatch).toBeGreaterThan(tally.all / 4);
    },
  );

  it('leaves them in that order when it is killed', { timeout: TIMEOUT_MS }, async () => {
    const tally = new Tally();
    for (let kill = 0; kill < KILLS; kill++) {
      publisher = new Publisher();
      await publisher.begun();
      await setTimeout(Math.random() * KILL_MS_MAX);
      await publisher.kill();
      tally.add(publisher.read());
      await publisher[Symbol.asyncDispose]();
      publisher = undefined;
    }
    if (LONG) console.log(process.version, tally.all, 'kills', tally.phases);
    expect([tally.all, tally.wrong]).toEqual([KILLS, 0]);
  });

  it.skipIf(whyNotStepped)(
    `changes memory instruction by instruction as the program does${whyNotStepped === undefined ? '' : `: ${whyNotStepped}`}`,
    { timeout: TIMEOUT_MS },
    async () => {
      publisher = new Publisher(['--allow-natives-syntax'], 'few');
      expect(await publisher.warm()).toMatchObject({ optimized: true });
      const parts = PARTS.map(({ file, bytes }) => `${join(publisher!.directory, file)}:${bytes}`);
      const output = execFileSync('python3', [STEPPER, `${publisher.pid}`, `${STEPS}`, ...parts], {
        maxBuffer: 2 ** 30,
      });
      const { initial, changes, torn } = JSON.parse(output.toString());
      const memory = new Uint32Array(new Uint8Array(Buffer.from(initial, 'base64')).buffer);
      const place = placeOf(memory, COUNTS.few);
      expect([place === undefined, torn]).toEqual([false, 0]);
      const rounds = changes.filter(([word]: readonly number[]) => word === MARKER).length;
      expect(rounds).toBeGreaterThan(1);
      const expected = changesBehind(place!, memory, COUNTS.few, changes.length).map(({ word, value }) => [
        word,
        value,
      ]);
      expect(changes).toEqual(expected);
      if (LONG)
        console.log(process.version, STEPS, 'instructions', changes.length, 'changes', rounds, 'rounds');
    },
  );

  it.each(FAULTS)('is found to store wrongly: %s', { timeout: TIMEOUT_MS }, async (fault) => {
    publisher = new Publisher([], 'any', fault);
    await publisher.warm();
    const tally = await stopped(({ wrong, all }) => wrong > 0 || all >= FAULT_STOPS);
    expect(tally.wrong).toBe(1);
  });
});
