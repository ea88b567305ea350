import { DurableWords } from '../../durable/durable-words.js';
import { beginJournal, claimJournal, type Ignored, type JournalHead } from '../../durable/journal-head.js';
import {
  type ArenaPlace,
  JOURNAL_VERSION,
  type JournalVersion,
  LAYOUTS,
  MAGICS,
} from '../../durable/layout.js';
import { NONE_PENDING, RedoLog } from '../../durable/redo.js';
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
import type { Arena } from '../../xen/seam.js';
import { BATCH_SLOTS, TO_GUEST_FRAMES } from '../frames/batch-memory.js';
import { isSoundStaging } from '../guest/staging.js';

/** The queue that a journal belongs to. After a reboot of the guest, or a reload of its driver, these values differ. */
export interface QueueIdentity {
  readonly domid: number;
  readonly handle: number;
  readonly queue: number;
  readonly txRingRef: number;
  readonly rxRingRef: number;
  readonly txPort: number;
  readonly rxPort: number;
}

/** One direction of a queue: the log of responses, and the pending frames. */
export interface JournalSide {
  readonly log: RedoLog;
  readonly frames: FrameBatch;
}

export interface QueueJournal {
  readonly fromGuest: JournalSide;
  readonly toGuest: JournalSide;
  /** For a Staging. */
  readonly staging: DurableWords;
  readonly ignored: Ignored | undefined;
}

/**
 * Returns a queue's journal from the bytes of a file. If the bytes belong to another queue or are no valid journal, it starts an empty one.
 * @param version of the journal, or of the one that it starts.
 * @param afterStore runs after each store; a simulation kills the process there.
 */
export function readQueueJournal(
  bytes: Uint8Array,
  identity: QueueIdentity,
  version: JournalVersion = JOURNAL_VERSION,
  afterStore?: () => void,
): QueueJournal {
  const { words: layout } = LAYOUTS[version].queue;
  const words = new DurableWords(new Uint32Array(bytes.buffer, bytes.byteOffset, layout.words), afterStore);
  const { domid, handle, queue, txRingRef, rxRingRef, txPort, rxPort } = identity;
  const head: JournalHead = {
    magic: MAGICS.queue,
    version,
    names: [domid, handle, queue, txRingRef, rxRingRef, txPort, rxPort],
  };
  const ignored = claimJournal(words, head);
  const sides = sidesIn(bytes, words, version);
  const staging = words.part(layout.at.staging, layout.words - layout.at.staging);
  if (isSound(sides.fromGuest) && isSound(sides.toGuest) && isSoundStaging(staging))
    return { ...sides, staging, ignored };
  beginJournal(words, head);
  return { ...sidesIn(bytes, words, version), staging, ignored: 'damaged' };
}

function sidesIn(
  bytes: Uint8Array,
  words: DurableWords,
  version: JournalVersion,
): Pick<QueueJournal, 'fromGuest' | 'toGuest'> {
  const { words: layout, arenas } = LAYOUTS[version].queue;
  const { fromGuestLog, fromGuestFrames, toGuestLog, toGuestFrames } = layout.at;
  return {
    fromGuest: {
      log: new RedoLog(words.part(fromGuestLog, fromGuestFrames - fromGuestLog), TX_RING.responseWords),
      frames: framesIn(bytes, fromGuestFrames, BATCH_SLOTS, arenas.fromGuest),
    },
    toGuest: {
      log: new RedoLog(words.part(toGuestLog, toGuestFrames - toGuestLog), RX_RING.responseWords),
      frames: framesIn(bytes, toGuestFrames, TO_GUEST_FRAMES, arenas.toGuest),
    },
  };
}

function framesIn(bytes: Uint8Array, atWord: number, capacity: number, place: ArenaPlace): FrameBatch {
  const { buffer, byteOffset } = bytes;
  const block = new Uint32Array(buffer, byteOffset + atWord * 4, FrameBatch.words(capacity));
  const start = byteOffset + place.at;
  const arena: Arena = {
    bytes: new Uint8Array(buffer, start, place.bytes),
    u32: new Uint32Array(buffer, start, place.bytes >>> 2),
  };
  return new FrameBatch(arena, capacity, block);
}

/** Whether the pending frames can be frames of this arena. A side without pending frames is sound whatever its block has. */
function isSound({ log, frames }: JournalSide): boolean {
  const first = log.firstPending;
  if (first === NONE_PENDING) return true;
  const { block, count, capacity, arena } = frames;
  if (count > capacity || first > count) return false;
  for (let i = 0; i < count; i++) {
    const at = frameAt(i);
    const [offset, length] = [block[at + FRAME_OFFSET], block[at + FRAME_LENGTH]];
    if (length === 0) continue;
    // All bytes of a pending frame are in the arena.
    if (block[at + FRAME_OP_COUNT] !== 0 || length > FRAME_BYTES_MAX) return false;
    if (offset % 2 !== 0 || offset < VNET_HEADER_BYTES || offset + length > arena.bytes.length) return false;
  }
  return true;
}
