import { beginJournal, claimJournal, type Ignored, JOURNAL_HEAD_WORDS } from '../../durable/journal.js';
import { NONE_KEPT, RedoLog } from '../../durable/redo.js';
import {
  FRAME_BYTES_MAX,
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_OP_COUNT,
  FrameBatch,
  frameAt,
} from '../../ports/frame-batch.js';
import { RX_RING, TX_RING } from '../../protocol/ring.js';
import { VNET_HEADER_BYTES } from '../../protocol/vnet.js';
import { type Arena, PAGE_SIZE } from '../../xen/seam.js';
import {
  BATCH_SLOTS,
  FROM_GUEST_ARENA_BYTES,
  TO_GUEST_ARENA_BYTES,
  TO_GUEST_FRAMES,
} from '../frames/batch-memory.js';
import { isSoundStaging, STAGING_WORDS } from '../guest/staging.js';

/** The queue that a journal belongs to: a guest that reboots, or loads its driver again, has another one. */
export interface QueueIdentity {
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

export interface QueueJournal {
  readonly fromGuest: JournalSide;
  readonly toGuest: JournalSide;
  /** For a Staging. */
  readonly staging: Uint32Array;
  readonly ignored: Ignored | undefined;
}

/** 'VIFJ' */
const MAGIC = 0x4a464956;

// Layout in words: the head, then each direction's log and block, and the guest's staged grants; the arenas begin at pages.
const AT_FROM_GUEST = JOURNAL_HEAD_WORDS;
const FROM_GUEST_LOG_WORDS = RedoLog.words(BATCH_SLOTS, TX_RING.responseWords);
const AT_TO_GUEST = AT_FROM_GUEST + FROM_GUEST_LOG_WORDS + FrameBatch.words(BATCH_SLOTS);
const TO_GUEST_LOG_WORDS = RedoLog.words(BATCH_SLOTS, RX_RING.responseWords);
const AT_STAGING = AT_TO_GUEST + TO_GUEST_LOG_WORDS + FrameBatch.words(TO_GUEST_FRAMES);
const END_WORDS = AT_STAGING + STAGING_WORDS;
const FROM_GUEST_ARENA = inPages(END_WORDS * 4);
const TO_GUEST_ARENA = FROM_GUEST_ARENA + inPages(FROM_GUEST_ARENA_BYTES);
export const QUEUE_JOURNAL_BYTES = TO_GUEST_ARENA + inPages(TO_GUEST_ARENA_BYTES);

function inPages(bytes: number): number {
  return Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;
}

/** The one place where bytes become a queue's journal. Of another queue's, or of what cannot be one, nothing is used. */
export function readQueueJournal(bytes: Uint8Array, identity: QueueIdentity): QueueJournal {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, FROM_GUEST_ARENA / 4);
  const { domid, handle, queue, txRingRef, rxRingRef, txPort, rxPort } = identity;
  const names = Uint32Array.of(domid, handle, queue, txRingRef, rxRingRef, txPort, rxPort);
  const ignored = claimJournal(words, MAGIC, names);
  const sides = sidesIn(bytes, words);
  const staging = words.subarray(AT_STAGING, END_WORDS);
  if (isSound(sides.fromGuest) && isSound(sides.toGuest) && isSoundStaging(staging))
    return { ...sides, staging, ignored };
  beginJournal(words, MAGIC, names);
  return { ...sidesIn(bytes, words), staging, ignored: 'damaged' };
}

function sidesIn(bytes: Uint8Array, words: Uint32Array): Pick<QueueJournal, 'fromGuest' | 'toGuest'> {
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
