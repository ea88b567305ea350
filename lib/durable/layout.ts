/**
 * Where every word of a journal lies, by version. A test pins a digest of each version: no layout changes without a new version, and a
 * version that a released vifd has written never changes. The figures here are of the layouts; tests compare them with the constants of the
 * code that uses them. docs/journal.md has this table, generated.
 */

/** What a part is: so many words, a structure, or a row of structures that are alike. */
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

/** Parts one behind the other. */
export interface Struct<Names extends string> {
  /** Where each part begins, in words. */
  readonly at: Readonly<Record<Names, number>>;
  readonly words: number;
  readonly parts: readonly Part[];
}

/** A piece of a journal that holds the bytes of frames. It begins at a page. */
export interface ArenaPlace {
  /** In bytes, from the beginning of the journal. */
  readonly at: number;
  readonly bytes: number;
}

/** A journal: words from its beginning, and arenas behind them. */
export interface JournalLayout<Names extends string = string> {
  readonly words: Struct<Names>;
  readonly arenas: Readonly<Record<string, ArenaPlace>>;
  readonly bytes: number;
}

const PAGE_BYTES = 4096;

/** What a journal is of: a connection's vif, one of its queues; or a vif's counters, whatever its connections. */
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

/** Of every journal: what it is, its version, and the names of what it belongs to. */
export const HEAD = struct({ magic: 1, version: 1, names: 14 });

/** `state` says how many responses and which base count (redo.ts). */
const redoLog = (responseWords: number) => struct({ state: 1, bases: 2, responses: responseWords });
export const REDO_LOG = redoLog(0);

const twoBanks = <Names extends string>(bank: Struct<Names>) =>
  struct({ selected: 1, banks: { count: 2, each: bank } });

/** A FrameBatch's block (ports/frame-batch.ts). `unsorted`: how many of the frames may be another queue's. */
export const FRAMES_HEADER = struct({
  ...{ count: 1, start: 1, end: 1, align: 1, phase: 1, more: 1, errno: 1, unsorted: 1 },
});
export const FRAME = struct({ offset: 1, length: 1, firstOp: 1, opCount: 1, status: 1 });
const frameBlock = (frames: number) =>
  struct({ header: FRAMES_HEADER, frames: { count: frames, each: FRAME } });

/** Which places are taken (bits), whether the list is whole, and two words an address. */
export const MULTICAST = struct({ taken: 2, whole: 1, addresses: 64 * 2 });

/** Bytes left; the end of the interval in microseconds of the machine's monotonic clock, 64 bits. */
export const CREDIT = struct({ left: 1, end: 2 });

/** `mapping`: a byte for each entry. */
export const HASH = struct({ algorithm: 1, flags: 1, size: 1, key: 40 / 4, mapping: 128 / 4 });
export const HASH_BANKS = twoBanks(HASH);

/** Grants that stay mapped: first the staged ones, then those that leave since a place of the control ring; `writes`: bits. */
export const STAGED = struct({ count: 1, leaving: 1, leavingAt: 1, refs: 1024, writes: 1024 / 32 });
export const STAGED_BANKS = twoBanks(STAGED);

/** What a connection negotiated. `queues` is stored last: at 0 nothing is recorded. */
export const NEGOTIATED = struct({
  queues: 1,
  features: 1,
  xdpHeadroom: 1,
  controlRingRef: 1,
  controlPort: 1,
  rings: { count: 16, each: struct({ txRingRef: 1, rxRingRef: 1, txPort: 1, rxPort: 1 }) },
});

/** Words of a double: counters are doubles at multiples of 8 bytes. */
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

/** `portDropped`: frames for the guest that the vif's port dropped before vifd could read them. The doubles behind it are 0. */
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
 * 7: vifd of the commits 7952fb1 and later. `fresh`, `unsorted` and the number of a frame's segments (`firstOp` and `status`) were words
 * that earlier commits of this version left at 0, and 0 is what they mean there.
 * 8: with what the connection negotiated, and a vif's counters in a journal of their own.
 */
export const LAYOUTS = {
  7: { vif: journal(struct(VIF_7)), queue: QUEUE_7 },
  8: {
    vif: journal(struct({ ...VIF_7, negotiated: NEGOTIATED })),
    queue: QUEUE_7,
    counters: journal(COUNTERS),
  },
} as const;

export type JournalVersion = keyof typeof LAYOUTS;

/** The version that vifd writes, unless it is told otherwise. */
export const JOURNAL_VERSION = 8;
/** The version that it can write instead, for a vifd that is older. */
export const JOURNAL_VERSION_BEFORE = 7;

/** Those that it reads. */
export const JOURNAL_VERSIONS = Object.keys(LAYOUTS).map(Number) as JournalVersion[];

/** @returns the layout of a version that stands in a journal; undefined for one that this vifd does not know. */
export function layoutOf(kind: JournalKind, version: number): JournalLayout | undefined {
  const layouts: Partial<Record<JournalKind, JournalLayout>> | undefined = LAYOUTS[version as JournalVersion];
  return layouts?.[kind];
}

/** How long journals of a kind are, in the versions that there are. */
export function journalSizes(kind: JournalKind): number[] {
  const sizes = JOURNAL_VERSIONS.flatMap((version) => layoutOf(kind, version)?.bytes ?? []);
  return [...new Set(sizes)];
}
