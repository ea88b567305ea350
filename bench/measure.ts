import { RING_RSP_PROD } from '../lib/protocol/netif.js';
import type { BenchFrame } from './frames.js';
import { BenchGuest } from './guest.js';
import type { Loop } from './loop.js';

export type Direction = 'from-guest' | 'to-guest';

/** One line of the table. */
export interface Cell {
  readonly direction: Direction;
  readonly frame: BenchFrame;
  /** Frames that wait whenever the loop is called. */
  readonly batch: number;
}

/** How long a cell is measured. */
export interface Effort {
  /** The native part's processes: each has its memory elsewhere in the caches, which moves the long frames by 10 %. */
  readonly processes: number;
  readonly rounds: number;
  readonly roundMs: number;
  readonly warmUpMs: number;
}

/** Many short rounds: whatever else the machine does spoils few of them. */
export const EFFORT: Effort = { processes: 5, rounds: 31, roundMs: 0.7, warmUpMs: 120 };
export const QUICK: Effort = { processes: 1, rounds: 25, roundMs: 0.5, warmUpMs: 60 };

export type Subjects = Readonly<Record<string, Loop>>;

/** Nanoseconds a frame, by subject, then by round. The subjects take turns, so round i of each is a pair. */
export type Samples = Record<string, number[]>;

export const BATCHES = [1, 16, 64];

/** Batches of a frame: what the ring holds of the largest, or BATCHES. */
export function batchesOf(frame: BenchFrame): number[] {
  const held = BenchGuest.txFrames(frame);
  return [...new Set(BATCHES.map((batch) => Math.min(batch, held)))];
}

/** What a process has found out about a cell. */
export interface Found {
  readonly direction: Direction;
  readonly frame: string;
  readonly batch: number;
  readonly samples: Samples;
}

export function measure(cell: Cell, guest: BenchGuest, subjects: Subjects, effort: Effort): Found {
  const names = Object.keys(subjects);
  guest.reset();
  const run = (name: string, ms: number) => repeat(cell, guest, subjects[name], ms);
  for (const name of names) {
    subjects[name].setSource(cell.frame.fromPort);
    run(name, effort.warmUpMs);
  }
  const samples: Samples = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < effort.rounds; round++) {
    // There and back, so that none is always the one after another.
    const order = round % 2 === 0 ? names : names.toReversed();
    for (const name of order) samples[name].push(run(name, effort.roundMs));
  }
  return { direction: cell.direction, frame: cell.frame.name, batch: cell.batch, samples };
}

/** The same cells of several processes, with the samples of all. */
export function pool(runs: readonly (readonly Found[])[]): Found[] {
  return runs[0].map((found, cell) => {
    const names = Object.keys(found.samples);
    const samples = names.map((name) => [name, runs.flatMap((run) => run[cell].samples[name])]);
    return { ...found, samples: Object.fromEntries(samples) };
  });
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
export function framesOf(cell: Cell): number {
  const held =
    cell.direction === 'from-guest' ? BenchGuest.txFrames(cell.frame) : Math.floor(256 / cell.frame.rxSlots);
  return held - (held % cell.batch);
}

/** Runs one filling of the ring. @returns nanoseconds. @throws when a frame got no response. */
export function once(cell: Cell, guest: BenchGuest, loop: Loop): number {
  const { frame, batch, direction } = cell;
  const frames = framesOf(cell);
  if (direction === 'from-guest') {
    guest.fillTx(frame);
    const before = guest.txWords[RING_RSP_PROD];
    const ns = loop.fromGuest(frames * frame.txSlots, batch * frame.txSlots);
    expectResponses(guest.txWords, before, frames * frame.txSlots);
    return ns;
  }
  guest.fillRx();
  const before = guest.rxWords[RING_RSP_PROD];
  const ns = loop.toGuest(frames, batch);
  expectResponses(guest.rxWords, before, frames * frame.rxSlots);
  return ns;
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

/** Ratios of the rounds that were run one after the other: what the machine did meanwhile cancels out. */
export function pairedRatios(of: readonly number[], to: readonly number[]): number[] {
  return of.map((value, round) => value / to[round]);
}
