import { setTimeout } from 'node:timers/promises';
import { RING_RSP_PROD } from '../lib/protocol/netif.js';
import { type BenchFrame, FRAMES } from './frames.js';
import { type Garbage, measureGarbage } from './garbage.js';
import { BenchGuest } from './guest.js';
import { type Gauge, type Loop, TypeScriptLoop } from './loop.js';

export type Direction = 'from-guest' | 'to-guest';

/** What is measured: one row of the tables. */
export interface Cell {
  readonly direction: Direction;
  readonly frame: BenchFrame;
  /** Frames that wait whenever the loop is called. */
  readonly batch: number;
}

/** How long a process measures each cell. */
export interface Effort {
  readonly rounds: number;
  readonly roundMs: number;
  /** How long each loop runs at least before the first cell is measured, all cells together: V8 sees all kinds of frames, and compiles. */
  readonly warmUpMs: number;
  /** How long the loop of TypeScript runs each cell, after the rounds, to find out what it allocates. 0: not at all. */
  readonly garbageMs: number;
}

/** V8 compiles in threads of its own, to which a busy machine gives no time while this one runs. */
const COMPILE_MS = 100;
const WARM_UPS_MIN = 2;
const WARM_UPS_MAX = 4;
/** A loop that takes this part of its time or less has become faster. */
const FASTER = 0.9;
/** How long each loop runs right before its rounds: until the caches have this cell's pages. */
const SETTLE_MS = 3;

/** Nanoseconds a frame, by loop, then by round. The loops take turns, so round i of each is a pair. */
export type Samples = Readonly<Record<string, readonly number[]>>;

const BATCHES = [1, 16, 64];

/** @returns the cells of a direction: batches of BATCHES, or, of the largest frame, what the ring holds. */
export function cellsOf(direction: Direction): Cell[] {
  return FRAMES.flatMap((frame) => {
    const held = BenchGuest.txFrames(frame);
    const batches = [...new Set(BATCHES.map((batch) => Math.min(batch, held)))];
    return batches.map((batch) => ({ direction, frame, batch }));
  });
}

/** What a process has found out about a cell. */
export interface Found {
  readonly direction: Direction;
  readonly frame: string;
  readonly batch: number;
  readonly samples: Samples;
  /** What the loop of TypeScript allocates, if this process measured that. */
  readonly garbage?: Garbage;
}

type Loops = Readonly<Record<string, Loop>>;

/**
 * Measures loops on one guest's rings.
 * @param verify runs before each cell, and throws when the loops differ.
 */
export async function measure(
  cells: readonly Cell[],
  guest: BenchGuest,
  loops: Loops,
  effort: Effort,
  verify: (cell: Cell) => void = () => {},
): Promise<Found[]> {
  await warmUp(cells, guest, loops, effort.warmUpMs);
  return cells.map((cell) => {
    verify(cell);
    return measureCell(cell, guest, loops, effort);
  });
}

/** Runs all loops in passes, until V8 has compiled what it will compile: until no loop gets faster. */
async function warmUp(cells: readonly Cell[], guest: BenchGuest, loops: Loops, ms: number): Promise<void> {
  const eachMs = ms / WARM_UPS_MIN / cells.length;
  const fastest = new Map<string, number>();
  for (let pass = 1; pass <= WARM_UPS_MAX; pass++) {
    let isFaster = false;
    for (const [index, cell] of cells.entries())
      for (const [name, loop] of Object.entries(loops)) {
        const key = `${index} ${name}`;
        const before = fastest.get(key) ?? Number.POSITIVE_INFINITY;
        const ns = begin(cell, guest, loop, eachMs);
        isFaster ||= ns < before * FASTER;
        fastest.set(key, Math.min(before, ns));
      }
    await setTimeout(COMPILE_MS);
    if (!isFaster && pass >= WARM_UPS_MIN) return;
  }
}

function measureCell(cell: Cell, guest: BenchGuest, loops: Loops, effort: Effort): Found {
  const names = Object.keys(loops);
  for (const name of names) begin(cell, guest, loops[name], SETTLE_MS);
  const samples: Record<string, number[]> = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < effort.rounds; round++) {
    // There and back, so that none is always the one after another.
    const order = round % 2 === 0 ? names : names.toReversed();
    for (const name of order) samples[name].push(repeat(cell, guest, loops[name], effort.roundMs));
  }
  const { direction, frame, batch } = cell;
  const found = { direction, frame: frame.name, batch, samples };
  const loop = Object.values(loops).find((one) => one instanceof TypeScriptLoop);
  if (effort.garbageMs === 0 || loop === undefined) return found;
  const run = (gauge: Gauge) => once(cell, guest, loop, gauge);
  return { ...found, garbage: measureGarbage(run, framesOf(cell) / batch, effort.garbageMs) };
}

/** Runs a loop from empty rings on. @returns the nanoseconds of the fastest filling of the ring. */
function begin(cell: Cell, guest: BenchGuest, loop: Loop, ms: number): number {
  guest.reset();
  loop.setSource(cell.frame.fromPort);
  let fastest = Number.POSITIVE_INFINITY;
  for (let ns = 0; ns < ms * 1e6; ) {
    const took = once(cell, guest, loop);
    ns += took;
    fastest = Math.min(fastest, took);
  }
  return fastest;
}

/** Fills the ring and drains it again and again for `ms` of measured time. @returns nanoseconds a frame. */
function repeat(cell: Cell, guest: BenchGuest, loop: Loop, ms: number): number {
  let ns = 0;
  let frames = 0;
  while (ns < ms * 1e6) {
    ns += once(cell, guest, loop);
    frames += framesOf(cell);
  }
  return ns / frames;
}

/** Frames of one filling of the ring, in whole batches. */
function framesOf(cell: Cell): number {
  const held =
    cell.direction === 'from-guest' ? BenchGuest.txFrames(cell.frame) : Math.floor(256 / cell.frame.rxSlots);
  return held - (held % cell.batch);
}

/**
 * Runs one filling of the ring.
 * @param gauge for a loop of TypeScript: what is measured in place of time.
 * @returns nanoseconds, or by how much the gauge grew. @throws when a frame got no response.
 */
export function once(cell: Cell, guest: BenchGuest, loop: Loop, gauge?: Gauge): number {
  const { frame, batch, direction } = cell;
  const frames = framesOf(cell);
  if (direction === 'from-guest') {
    guest.fillTx(frame);
    const before = guest.txWords[RING_RSP_PROD];
    const taken = loop.fromGuest(frames * frame.txSlots, batch * frame.txSlots, gauge);
    expectResponses(guest.txWords, before, frames * frame.txSlots);
    return taken;
  }
  guest.fillRx();
  const before = guest.rxWords[RING_RSP_PROD];
  const taken = loop.toGuest(frames, batch, gauge);
  expectResponses(guest.rxWords, before, frames * frame.rxSlots);
  return taken;
}

function expectResponses(words: Uint32Array, before: number, slots: number): void {
  const got = (words[RING_RSP_PROD] - before) >>> 0;
  if (got !== slots) throw new Error(`${got} of ${slots} slots have responses`);
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
