import {
  beginJournal,
  claimJournal,
  type Ignored,
  isJournal,
  JOURNAL_HEAD_WORDS,
} from '../../durable/journal.js';
import { CONTROL_LOG_WORDS } from '../guest/control.js';
import { CREDIT_WORDS } from '../guest/credit.js';
import { HASH_WORDS, isSoundHash } from '../guest/hash.js';
import { MULTICAST_WORDS } from '../guest/multicast.js';
import type { FrontendSettings } from '../settings.js';

/** What a guest programmed, and what its toolstack allows: of the connection as a whole, whichever queue it came by. */
export interface VifJournal {
  /** For a MulticastFilter. */
  readonly multicast: Uint32Array;
  /** For a Credit. */
  readonly credit: Uint32Array;
  /** For a HashState. */
  readonly hash: Uint32Array;
  /** What a Control had begun to answer. */
  readonly control: Uint32Array;
  /** One word: for a Control. */
  readonly controlWrapped: Uint32Array;
  /** One word: how often the connection has gone on after an earlier life of the backend. */
  readonly resumes: Uint32Array;
  /**
   * One word: 1 until the connection has dropped what was sent to the port before it. A journal of an earlier version has 0 there: its
   * connection has begun.
   */
  readonly fresh: Uint32Array;
  readonly ignored: Ignored | undefined;
}

/** 'VIFC' */
const MAGIC = 0x43464956;

// Layout in words. Of most no content is wrong: each reader believes it as far as it can be.
const AT_MULTICAST = JOURNAL_HEAD_WORDS;
const AT_CREDIT = AT_MULTICAST + MULTICAST_WORDS;
const AT_HASH = AT_CREDIT + CREDIT_WORDS;
const AT_CONTROL = AT_HASH + HASH_WORDS;
const AT_RESUMES = AT_CONTROL + CONTROL_LOG_WORDS;
const AT_CONTROL_WRAPPED = AT_RESUMES + 1;
const AT_FRESH = AT_CONTROL_WRAPPED + 1;
const END_WORDS = AT_FRESH + 1;
export const VIF_JOURNAL_BYTES = Math.ceil(END_WORDS / 1024) * 4096;

/** The one place where bytes become a vif's journal. Of another connection's nothing is used. */
export function readVifJournal(
  bytes: Uint8Array,
  { domid, handle }: { readonly domid: number; readonly handle: number },
  { queues, control }: Pick<FrontendSettings, 'queues' | 'control'>,
): VifJournal {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, VIF_JOURNAL_BYTES / 4);
  // The first queue's rings and ports are no other connection's.
  const { txRingRef, rxRingRef, txPort, rxPort } = queues[0];
  const rings = [txRingRef, rxRingRef, txPort, rxPort, control?.ringRef ?? 0, control?.port ?? 0];
  const names = Uint32Array.of(domid, handle, queues.length, ...rings);
  const wasThere = isJournal(words, MAGIC);
  const claimed = claimJournal(words, MAGIC, names);
  // Noise is no other connection's journal.
  const ignored = claimed === 'foreign' && !wasThere ? 'damaged' : claimed;
  const found = wordsIn(words);
  if (!wasThere || ignored !== undefined) found.fresh[0] = 1;
  if (isSoundHash(found.hash, queues.length)) return { ...found, ignored };
  beginJournal(words, MAGIC, names);
  found.fresh[0] = 1;
  return { ...found, ignored: 'damaged' };
}

/** Writes what a connection has in memory into a journal that is new. */
export function fillVifJournal(
  bytes: Uint8Array,
  vif: { readonly domid: number; readonly handle: number },
  settings: Pick<FrontendSettings, 'queues' | 'control'>,
  from: VifJournal,
): void {
  const { ignored: _new, ...words } = readVifJournal(bytes, vif, settings);
  for (const [part, to] of Object.entries(words)) to.set(from[part as keyof typeof words]);
}

/** The same in memory that ends with the process. */
export function newVifJournal(): VifJournal {
  const words = wordsIn(new Uint32Array(VIF_JOURNAL_BYTES / 4));
  words.fresh[0] = 1;
  return { ...words, ignored: undefined };
}

function wordsIn(words: Uint32Array): Omit<VifJournal, 'ignored'> {
  return {
    multicast: words.subarray(AT_MULTICAST, AT_CREDIT),
    credit: words.subarray(AT_CREDIT, AT_HASH),
    hash: words.subarray(AT_HASH, AT_CONTROL),
    control: words.subarray(AT_CONTROL, AT_RESUMES),
    resumes: words.subarray(AT_RESUMES, AT_CONTROL_WRAPPED),
    controlWrapped: words.subarray(AT_CONTROL_WRAPPED, AT_FRESH),
    fresh: words.subarray(AT_FRESH, END_WORDS),
  };
}
