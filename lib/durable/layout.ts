/**
 * The layout of a journal, word by word, in each version. A test pins a digest of each version: a changed layout needs a new version, and a
 * version that a released vifd has written never changes. The sizes are literals here, and tests compare them with the constants of the
 * code that uses the words. docs/journal.md has a table that is generated from this one.
 */

/** What a part is: a number of words, a structure, or a row of equal structures. */
export type Shape = number | Struct<string> | Row;

export interface Row {
  readonly count: number;
  readonly each: Struct<string>;
}

export interface Part {
  readonly name: string;
  /** In words, from the beginning of the structure. */
  readonly at: number;
  readonly words: number;
  readonly shape: Shape;
}

/** Parts, one behind the other. */
export interface Struct<Names extends string> {
  /** Where each part begins, in words. */
  readonly at: Readonly<Record<Names, number>>;
  readonly words: number;
  readonly parts: readonly Part[];
}

/** A part of a journal for the bytes of frames. It begins at a page. */
export interface ArenaPlace {
  /** In bytes, from the beginning of the journal. */
  readonly at: number;
  readonly bytes: number;
}

/** The layout of a journal: words at its beginning, and arenas behind them. */
export interface JournalLayout<Names extends string = string> {
  readonly words: Struct<Names>;
  readonly arenas: Readonly<Record<string, ArenaPlace>>;
  readonly bytes: number;
}

const PAGE_BYTES = 4096;

/** `vif`: what all queues of a connection share. `queue`: one queue of a connection. `counters`: a vif's counters over all connections. */
export type JournalKind = 'vif' | 'queue' | 'counters';

/** The first word of a journal: 'VIFC', 'VIFJ', and 'VIFN' for a vif's counters. */
export const MAGICS: Readonly<Record<JournalKind, number>> = {
  vif: 0x43464956,
  queue: 0x4a464956,
  counters: 0x4e464956,
};

function struct<Names extends string>(shapes: Readonly<Record<Names, Shape>>): Struct<Names> {
  const at = {} as Record<Names, number>;
  const parts: Part[] = [];
  let end = 0;
  for (const [name, shape] of Object.entries(shapes) as [Names, Shape][]) {
    const words = wordsOf(shape);
    at[name] = end;
    parts.push({ name, at: end, words, shape });
    end += words;
  }
  return { at, words: end, parts };
}

function wordsOf(shape: Shape): number {
  if (typeof shape === 'number') return shape;
  return 'each' in shape ? shape.count * shape.each.words : shape.words;
}

function journal<Names extends string>(
  words: Struct<Names>,
  arenaBytes: Readonly<Record<string, number>> = {},
): JournalLayout<Names> {
  const arenas: Record<string, ArenaPlace> = {};
  let end = inPages(words.words * 4);
  for (const [name, bytes] of Object.entries(arenaBytes)) {
    arenas[name] = { at: end, bytes };
    end += inPages(bytes);
  }
  return { words, arenas, bytes: end };
}

function inPages(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
}

// ---- structures: of all versions below that name them -----------------------------------------

/** The head of every journal: its kind, its version, and the numbers that identify what it belongs to. */
export const HEAD = struct({ magic: 1, version: 1, names: 14 });

/** `state` has the number of valid responses and selects the valid base (redo.ts). */
const redoLog = (responseWords: number) => struct({ state: 1, bases: 2, responses: responseWords });
export const REDO_LOG = redoLog(0);

const twoBanks = <Names extends string>(bank: Struct<Names>) =>
  struct({ selected: 1, banks: { count: 2, each: bank } });

/** A FrameBatch's block (ports/frame-batch.ts). `unsorted`: how many of the frames may belong to another queue. */
export const FRAMES_HEADER = struct({
  ...{ count: 1, start: 1, end: 1, align: 1, phase: 1, more: 1, errno: 1, unsorted: 1 },
});
export const FRAME = struct({ offset: 1, length: 1, firstOp: 1, opCount: 1, status: 1 });
const frameBlock = (frames: number) =>
  struct({ header: FRAMES_HEADER, frames: { count: frames, each: FRAME } });

/** `taken`: a bit for each place in use. `whole`: 1 if the list is complete. Each address has two words. */
export const MULTICAST = struct({ taken: 2, whole: 1, addresses: 64 * 2 });

/** `left`: bytes that the guest may still send. `end`: the end of the interval in microseconds of the host's monotonic clock, 64 bits. */
export const CREDIT = struct({ left: 1, end: 2 });

/** `mapping`: a byte for each entry. */
export const HASH = struct({ algorithm: 1, flags: 1, size: 1, key: 40 / 4, mapping: 128 / 4 });
export const HASH_BANKS = twoBanks(HASH);

/**
 * Grants that stay mapped: `count` staged ones, then `leaving` ones whose removal is pending. `leavingAt`: the place of the removing request
 * in the control ring. `writes`: a bit for each grant that is mapped for writing.
 */
export const STAGED = struct({ count: 1, leaving: 1, leavingAt: 1, refs: 1024, writes: 1024 / 32 });
export const STAGED_BANKS = twoBanks(STAGED);

/** What a connection negotiated. `queues` is stored last; 0 means that nothing is recorded. */
export const NEGOTIATED = struct({
  queues: 1,
  features: 1,
  xdpHeadroom: 1,
  controlRingRef: 1,
  controlPort: 1,
  rings: { count: 16, each: struct({ txRingRef: 1, rxRingRef: 1, txPort: 1, rxPort: 1 }) },
});

/** Words of a double. Counters are doubles at multiples of 8 bytes. */
export const DOUBLE = 2;

/** Why frames were dropped (`DropReason`). */
export const DROPS = struct({
  ...{ port: DOUBLE, refused: DOUBLE, offload: DOUBLE, unsupported: DOUBLE, buffers: DOUBLE, queue: DOUBLE },
  ...{ stale: DOUBLE, detached: DOUBLE, damaged: DOUBLE },
});

/** The counters of one direction of a queue. */
export const FLOW = struct({
  ...{ frames: DOUBLE, bytes: DOUBLE, filtered: DOUBLE, errors: DOUBLE, hookErrors: DOUBLE, batches: DOUBLE },
  drops: DROPS,
});
export const QUEUE_COUNTERS = struct({ fromGuest: FLOW, toGuest: FLOW, stalls: DOUBLE });

/** `portDropped`: frames for the guest that the vif's port dropped before vifd could read them. `reserved` is 0. */
const COUNTERS = struct({
  head: HEAD,
  portDropped: DOUBLE,
  reserved: 7 * DOUBLE,
  queues: { count: 16, each: QUEUE_COUNTERS },
});

// ---- versions ---------------------------------------------------------------------------------

const VIF_7 = {
  head: HEAD,
  multicast: MULTICAST,
  credit: CREDIT,
  hash: HASH_BANKS,
  control: redoLog(1 * 3),
  resumes: 1,
  controlWrapped: 1,
  fresh: 1,
};

const QUEUE_7 = journal(
  struct({
    head: HEAD,
    fromGuestLog: redoLog(128 * 1),
    fromGuestFrames: frameBlock(128),
    toGuestLog: redoLog(128 * 2),
    toGuestFrames: frameBlock(64),
    staging: STAGED_BANKS,
  }),
  { fromGuest: 731_136, toGuest: 787_080 },
);

/**
 * 7: written by commits 7952fb1 and later. Earlier commits of this version did not know `fresh`, `unsorted` and the number of a frame's
 * segments (`firstOp` and `status`), and left those words at 0, which has the right meaning.
 * 8: adds what the connection negotiated, and a journal for a vif's counters.
 */
export const LAYOUTS = {
  7: { vif: journal(struct(VIF_7)), queue: QUEUE_7 },
  8: {
    vif: journal(struct({ ...VIF_7, negotiated: NEGOTIATED })),
    queue: QUEUE_7,
    counters: journal(COUNTERS),
  },
} as const;

/** A version in which vifd writes journals. */
export type JournalVersion = keyof typeof LAYOUTS;

/** The version that vifd writes by default. */
export const JOURNAL_VERSION = 8;
/** The version that vifd writes on request, for an older vifd. */
export const JOURNAL_VERSION_BEFORE = 7;

/** The versions that vifd reads. */
export const JOURNAL_VERSIONS = Object.keys(LAYOUTS).map(Number) as JournalVersion[];

/** @returns the layout of a version that was read from a journal; undefined if this vifd does not know the version. */
export function layoutOf(kind: JournalKind, version: number): JournalLayout | undefined {
  const layouts: Partial<Record<JournalKind, JournalLayout>> | undefined = LAYOUTS[version as JournalVersion];
  return layouts?.[kind];
}

/** Returns the lengths of journals of a kind in bytes, over all versions. */
export function journalSizes(kind: JournalKind): number[] {
  const sizes = JOURNAL_VERSIONS.flatMap((version) => layoutOf(kind, version)?.bytes ?? []);
  return [...new Set(sizes)];
}
