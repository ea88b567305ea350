import {
  FRAME_BYTES_MAX,
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_OP_COUNT,
  FrameBatch,
  frameAt,
  VNET_HEADER_BYTES,
} from '../ports/types.js';
import { NONE_KEPT, RedoLog } from '../protocol/redo.js';
import { RX_RING, TX_RING } from '../protocol/ring.js';
import { type Arena, PAGE_SIZE } from '../xen/types.js';
import { FROM_GUEST_ARENA_BYTES, TO_GUEST_ARENA_BYTES, TO_GUEST_FRAMES } from './batches.js';
import { CREDIT_WORDS } from './credit.js';
import { MULTICAST_WORDS } from './multicast.js';
import { BATCH_SLOTS } from './pump.js';

/** Memory that outlives the process, one piece for each queue: what a life had begun, the next one ends. */
export interface Journals {
  /**
   * @returns JOURNAL_BYTES that begin at a page, zeroed when new. What stands there is not trusted.
   * @throws VifdError ERR_JOURNAL. The vif is then served without: as safe as after an orderly stop.
   */
  open(name: string): Uint8Array;
  /** The queue's connection is over: nothing of it is to be found again. No error when there is none. */
  remove(name: string): void;
}

/** Journals that outlive a backend's life, but not the process: for lives on the model. */
export function memoryJournals(): Journals {
  const journals = new Map<string, Uint8Array>();
  return {
    open: (name) => {
      const journal = journals.get(name) ?? new Uint8Array(JOURNAL_BYTES);
      journals.set(name, journal);
      return journal;
    },
    remove: (name) => void journals.delete(name),
  };
}

/** The connection that a journal belongs to: a guest that reboots, or loads its driver again, has another one. */
export interface RingIdentity {
  readonly domid: number;
  readonly handle: number;
  readonly queue: number;
  readonly txRingRef: number;
  readonly rxRingRef: number;
  readonly txPort: number;
  readonly rxPort: number;
}

/** One direction: what is answered, and frames that still have to go on. */
export interface JournalSide {
  readonly log: RedoLog;
  readonly frames: FrameBatch;
}

export interface Journal {
  readonly fromGuest: JournalSide;
  readonly toGuest: JournalSide;
  /** For a MulticastFilter. */
  readonly multicast: Uint32Array;
  /** For a Credit. */
  readonly credit: Uint32Array;
  /** Why what stood there was not used and the journal begun anew. */
  readonly ignored: 'foreign' | 'damaged' | undefined;
}

/** 'VIFJ', and the layout's version: a journal of another version is another's. */
const MAGIC = 0x4a464956;
const VERSION = 4;

// Layout in words: magic, version, identity, what the guest programmed, then each direction's log and block; the arenas begin at pages.
const AT_MAGIC = 0;
const AT_VERSION = 1;
const AT_IDENTITY = 2;
const AT_MULTICAST = 16;
const AT_CREDIT = AT_MULTICAST + MULTICAST_WORDS;
const AT_FROM_GUEST = AT_CREDIT + CREDIT_WORDS;
const FROM_GUEST_LOG_WORDS = RedoLog.words(BATCH_SLOTS, TX_RING.responseWords);
const AT_TO_GUEST = AT_FROM_GUEST + FROM_GUEST_LOG_WORDS + FrameBatch.words(BATCH_SLOTS);
const TO_GUEST_LOG_WORDS = RedoLog.words(BATCH_SLOTS, RX_RING.responseWords);
const END_WORDS = AT_TO_GUEST + TO_GUEST_LOG_WORDS + FrameBatch.words(TO_GUEST_FRAMES);
const FROM_GUEST_ARENA = inPages(END_WORDS * 4);
const TO_GUEST_ARENA = FROM_GUEST_ARENA + inPages(FROM_GUEST_ARENA_BYTES);
export const JOURNAL_BYTES = TO_GUEST_ARENA + inPages(TO_GUEST_ARENA_BYTES);

function inPages(bytes: number): number {
  return Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;
}

/** The one place where bytes become a journal. Of another connection's, or of what cannot be one, nothing is used. */
export function readJournal(bytes: Uint8Array, identity: RingIdentity): Journal {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, FROM_GUEST_ARENA / 4);
  const names = Uint32Array.of(
    identity.domid,
    identity.handle,
    identity.queue,
    identity.txRingRef,
    identity.rxRingRef,
    identity.txPort,
    identity.rxPort,
  );
  const foreign = !isOurs(words, names);
  const isNew = foreign && words.every((word) => word === 0);
  if (foreign) begin(words, names);
  const sides = sidesIn(bytes, words);
  const programmed = {
    multicast: words.subarray(AT_MULTICAST, AT_CREDIT),
    credit: words.subarray(AT_CREDIT, AT_FROM_GUEST),
  };
  if (isSound(sides.fromGuest) && isSound(sides.toGuest)) {
    return { ...sides, ...programmed, ignored: foreign && !isNew ? 'foreign' : undefined };
  }
  begin(words, names);
  return { ...sidesIn(bytes, words), ...programmed, ignored: 'damaged' };
}

function isOurs(words: Uint32Array, names: Uint32Array): boolean {
  return (
    words[AT_MAGIC] === MAGIC &&
    words[AT_VERSION] === VERSION &&
    names.every((name, i) => words[AT_IDENTITY + i] === name)
  );
}

function sidesIn(bytes: Uint8Array, words: Uint32Array): Pick<Journal, 'fromGuest' | 'toGuest'> {
  return {
    fromGuest: {
      log: new RedoLog(logWords(words, AT_FROM_GUEST, FROM_GUEST_LOG_WORDS), TX_RING.responseWords),
      frames: framesIn(bytes, AT_FROM_GUEST + FROM_GUEST_LOG_WORDS, BATCH_SLOTS, {
        start: FROM_GUEST_ARENA,
        bytes: FROM_GUEST_ARENA_BYTES,
      }),
    },
    toGuest: {
      log: new RedoLog(logWords(words, AT_TO_GUEST, TO_GUEST_LOG_WORDS), RX_RING.responseWords),
      frames: framesIn(bytes, AT_TO_GUEST + TO_GUEST_LOG_WORDS, TO_GUEST_FRAMES, {
        start: TO_GUEST_ARENA,
        bytes: TO_GUEST_ARENA_BYTES,
      }),
    },
  };
}

function logWords(words: Uint32Array, at: number, count: number): Uint32Array {
  return words.subarray(at, at + count);
}

function framesIn(
  bytes: Uint8Array,
  atWord: number,
  capacity: number,
  place: { start: number; bytes: number },
): FrameBatch {
  const { buffer, byteOffset } = bytes;
  const block = new Uint32Array(buffer, byteOffset + atWord * 4, FrameBatch.words(capacity));
  const start = byteOffset + place.start;
  const arena: Arena = {
    bytes: new Uint8Array(buffer, start, place.bytes),
    u32: new Uint32Array(buffer, start, place.bytes >>> 2),
  };
  return new FrameBatch(arena, capacity, block);
}

/** Whether what is kept can be frames of this arena. An empty side is sound whatever its block says. */
function isSound({ log, frames }: JournalSide): boolean {
  const first = log.firstKept;
  if (first === NONE_KEPT) return true;
  const { block, count, capacity, arena } = frames;
  if (count > capacity || first > count) return false;
  for (let i = 0; i < count; i++) {
    const at = frameAt(i);
    const [offset, length] = [block[at + FRAME_OFFSET], block[at + FRAME_LENGTH]];
    if (length === 0) continue;
    // Frames that are kept have all their bytes in the arena.
    if (block[at + FRAME_OP_COUNT] !== 0 || length > FRAME_BYTES_MAX) return false;
    if (offset % 2 !== 0 || offset < VNET_HEADER_BYTES || offset + length > arena.bytes.length) return false;
  }
  return true;
}

/** The magic is taken away first and given last: a kill in between leaves memory that is nobody's. */
function begin(words: Uint32Array, names: Uint32Array): void {
  Atomics.store(words, AT_MAGIC, 0);
  words.fill(0);
  words[AT_VERSION] = VERSION;
  words.set(names, AT_IDENTITY);
  Atomics.store(words, AT_MAGIC, MAGIC);
}
