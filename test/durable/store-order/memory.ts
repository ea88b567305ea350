import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { JOURNAL_VERSION, LAYOUTS, REDO_LOG } from '../../../lib/durable/layout.js';
import {
  RING_HEADER_WORDS,
  RING_PAGE_BYTES,
  RING_RSP_PROD,
  RX_SLOT_WORDS,
  TX_SLOT_WORDS,
} from '../../../lib/protocol/netif.js';
import { afterOf, baseOf, type Counts, CYCLE, countOf, firstOf, isPrepared, responseOf } from './rounds.mjs';

// The memory of child.mjs, in words: the beginning of the journal up to the end of both logs, then two rings and the marker.
const { fromGuestLog, fromGuestFrames, toGuestLog, toGuestFrames } = LAYOUTS[JOURNAL_VERSION].queue.words.at;
const JOURNAL_WORDS = toGuestFrames;
const PAGE_WORDS = RING_PAGE_BYTES / 4;
export const MARKER = JOURNAL_WORDS + 2 * PAGE_WORDS;
export const MEMORY_WORDS = MARKER + 1;
/** The parts of the memory: files, and their first bytes. */
export const PARTS = [
  { file: 'queue.journal', bytes: JOURNAL_WORDS * 4 },
  { file: 'rings.journal', bytes: (MEMORY_WORDS - JOURNAL_WORDS) * 4 },
] as const;

const LOGS = [fromGuestLog, toGuestLog] as const;
const RINGS = [JOURNAL_WORDS, JOURNAL_WORDS + PAGE_WORDS] as const;
const SLOT_WORDS = [TX_SLOT_WORDS, RX_SLOT_WORDS] as const;
const RESPONSE_WORDS = [1, 2] as const;
const SLOTS = 256;
/** From this number of responses of two words on, `BackRing` copies them by one call of `set`, in no order. */
const SET_MIN = 16;

const { state: STATE, bases: BASES, responses: RESPONSES } = REDO_LOG.at;
// Bits of `state`, as lib/durable/redo.ts has them.
const COMMITTED = 1 << 28;
const PENDING = 1 << 29;
const BANK = 1 << 30;

/** What a round has stored last. The names are in program order, for one side after the other. */
export const PHASES = [
  'marker',
  'responses',
  'base',
  'committed',
  'slots',
  'rsp_prod',
  'settled',
  'after',
] as const;
export type Phase = (typeof PHASES)[number];

interface ModelListener {
  afterStore(phase: Phase, word: number): void;
  /** Called before the model stores these words in their order; the program may store them in any other. */
  beforeAnyOrder?(phase: Phase, stores: ReadonlyMap<number, number>): void;
}

/** Runs the stores of rounds in program order on a model of the memory. */
export class ModelMemory {
  readonly words = new Uint32Array(MEMORY_WORDS);
  readonly #counts: Counts;
  readonly #listener: ModelListener;

  constructor(counts: Counts, listener: ModelListener) {
    this.#counts = counts;
    this.#listener = listener;
  }

  run(round: number): void {
    this.#store('marker', MARKER, round);
    this.#publish(round, 0);
    this.#publish(round, 1);
  }

  #publish(round: number, side: 0 | 1): void {
    const log = LOGS[side];
    const count = countOf(this.#counts, round, side);
    const words = count * RESPONSE_WORDS[side];
    const base = baseOf(this.#counts, round, side);
    const next = (base + count) >>> 0;
    if (isPrepared(round)) this.#respondInLog(round, side, words);
    const bank = this.#storeBase(log, base);
    if (!isPrepared(round)) this.#respondInLog(round, side, words);
    const pending = firstOf(round) === -1 ? 0 : PENDING | (firstOf(round) << 16);
    this.#store('committed', log + STATE, bank | COMMITTED | pending | count);
    this.#respondInRing(round, side, base);
    this.#store('rsp_prod', RINGS[side] + RING_RSP_PROD, next);
    const state = this.words[log + STATE];
    this.#store('settled', log + STATE, (state & PENDING) === 0 ? 0 : state & ~COMMITTED);
    const after = afterOf(round);
    if (after === 'pending') {
      const other = this.#storeBase(log, next);
      this.#store('after', log + STATE, other | PENDING | ((firstOf(round + 1) & 127) << 16));
    } else if (after === 'clear') this.#store('after', log + STATE, 0);
  }

  /** Stores the base that does not count. @returns the bit that makes it count. */
  #storeBase(log: number, base: number): number {
    const isSecond = (this.words[log + STATE] & BANK) === 0;
    this.#store('base', log + BASES + (isSecond ? 1 : 0), base);
    return isSecond ? BANK : 0;
  }

  #respondInLog(round: number, side: 0 | 1, words: number): void {
    for (let i = 0; i < words; i++)
      this.#store('responses', LOGS[side] + RESPONSES + i, responseOf(round, side, i));
  }

  #respondInRing(round: number, side: 0 | 1, base: number): void {
    const each = RESPONSE_WORDS[side];
    const count = countOf(this.#counts, round, side);
    const straight = Math.min(count, SLOTS - (base % SLOTS));
    const isSet = each === 2 && straight >= SET_MIN && isPrepared(round);
    const stores = new Map<number, number>();
    for (let i = 0; i < count; i++) {
      const slot = RINGS[side] + RING_HEADER_WORDS + ((base + i) % SLOTS) * SLOT_WORDS[side];
      for (let word = 0; word < each; word++)
        stores.set(slot + word, responseOf(round, side, i * each + word));
      if (isSet && i === straight - 1) this.#listener.beforeAnyOrder?.('slots', stores);
      if (isSet && i < straight - 1) continue;
      for (const [at, value] of stores) this.#store('slots', at, value);
      stores.clear();
    }
  }

  #store(phase: Phase, word: number, value: number): void {
    this.words[word] = value;
    this.#listener.afterStore(phase, word);
  }
}

/** A point of the program: the memory has `stores` stores of this round, and those of all rounds before it. */
export interface Place {
  readonly round: number;
  readonly stores: number;
  /** Of the last of these stores. */
  readonly phase: Phase;
}

export interface Change {
  readonly word: number;
  readonly value: number;
}

/** Returns a model that has run all rounds before this one. `afterStore` runs after each later store. */
function modelBefore(
  counts: Counts,
  round: number,
  snapshot: Uint32Array,
  afterStore: (model: ModelMemory, phase: Phase, word: number) => void,
  beforeAnyOrder: ModelListener['beforeAnyOrder'] = () => {},
): ModelMemory {
  let isAt = false;
  const model: ModelMemory = new ModelMemory(counts, {
    afterStore: (phase, word) => {
      if (isAt) afterStore(model, phase, word);
    },
    beforeAnyOrder: (phase, stores) => {
      if (isAt) beforeAnyOrder(phase, stores);
    },
  });
  // In these cycles each word that a round stores to is stored to. A cycle ends with no pending frames.
  const cycles = Math.ceil(SLOTS / counts.reduce((sum, count) => sum + count, 0));
  for (let earlier = Math.max(0, round - (round % CYCLE) - cycles * CYCLE); earlier < round; earlier++)
    model.run(earlier);
  // The child stores to the head and the blocks of frames before its first round only.
  for (const [at, end] of [
    [0, fromGuestLog],
    [fromGuestFrames, toGuestLog],
  ])
    model.words.set(snapshot.subarray(at, end), at);
  isAt = true;
  return model;
}

/** Finds the point of the program that a snapshot shows; undefined if program order allows no such memory. */
export function placeOf(snapshot: Uint32Array, counts: Counts): Place | undefined {
  const round = snapshot[MARKER];
  let stores = 0;
  let place: Place | undefined;
  let differing = 0;
  const afterStore = ({ words }: ModelMemory, phase: Phase, word: number) => {
    stores++;
    differing += Number(words[word] !== snapshot[word]) - Number(before[word] !== snapshot[word]);
    before[word] = words[word];
    if (differing === 0) place = { round, stores, phase };
  };
  const beforeAnyOrder = (phase: Phase, group: ReadonlyMap<number, number>) => {
    const missing = [...group].filter(([word]) => before[word] !== snapshot[word]);
    const isPart = missing.every(([word, value]) => value === snapshot[word]);
    if (isPart && differing === missing.length) place = { round, stores, phase };
  };
  const model = modelBefore(counts, round, snapshot, afterStore, beforeAnyOrder);
  const before = model.words.slice();
  for (let word = 0; word < MEMORY_WORDS; word++) differing += Number(before[word] !== snapshot[word]);
  model.run(round);
  return place;
}

/** Returns the next `count` changes of the memory behind a place. Stores that change nothing are left out. */
export function changesBehind(place: Place, snapshot: Uint32Array, counts: Counts, count: number): Change[] {
  const changes: Change[] = [];
  let stores = 0;
  const model = modelBefore(counts, place.round, snapshot, ({ words }, _phase, word) => {
    const value = words[word];
    if (++stores > place.stores && value !== before[word]) changes.push({ word, value });
    before[word] = value;
  });
  const before = model.words.slice();
  for (let { round } = place; changes.length < count; round++) model.run(round);
  return changes.slice(0, count);
}

/** Reads the memory from the files of a child that is stopped or has ended. */
export class Snapshots {
  readonly words = new Uint32Array(MEMORY_WORDS);
  readonly #files: readonly number[];

  constructor(directory: string) {
    this.#files = PARTS.map(({ file }) => openSync(join(directory, file), 'r'));
  }

  read(): Uint32Array {
    let at = 0;
    for (const [index, { bytes }] of PARTS.entries()) {
      readSync(this.#files[index], this.words, at, bytes, 0);
      at += bytes;
    }
    return this.words;
  }

  close(): void {
    for (const file of this.#files) closeSync(file);
  }
}
