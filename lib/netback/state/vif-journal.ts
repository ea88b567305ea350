import { DurableWords } from '../../durable/durable-words.js';
import {
  beginJournal,
  claimJournal,
  type Ignored,
  isOurs,
  type JournalHead,
} from '../../durable/journal-head.js';
import { type JournalVersion, LAYOUTS, MAGICS } from '../../durable/layout.js';
import { isSoundHash } from '../guest/hash.js';
import type { FrontendSettings } from '../settings.js';
import { recordedNegotiated, recordNegotiated } from './negotiated.js';

/** A connection that has not begun to move frames. */
export const FRESH = 1;
/** As FRESH, and the journal was another connection's before: the frames in the port were sent to that connection. */
export const FRESH_AFTER_ANOTHER = 2;

/** What a guest has programmed, and the credit that its toolstack allows: for the connection as a whole, not for a queue. */
export interface VifJournal {
  /** For a MulticastFilter. */
  readonly multicast: DurableWords;
  /** For a Credit. */
  readonly credit: DurableWords;
  /** For a HashState. */
  readonly hash: DurableWords;
  /** For a Control's log: the response that it is publishing. */
  readonly control: DurableWords;
  /** One word, for a Control: `rsp_prod` has wrapped. */
  readonly controlWrapped: DurableWords;
  /** One word: how often the connection was resumed by a new process of the backend. */
  readonly resumes: DurableWords;
  /**
   * One word: FRESH or FRESH_AFTER_ANOTHER until the connection has dropped the frames that were sent to the port before it. A journal of an
   * earlier version has 0 there, as its connection has begun.
   */
  readonly fresh: DurableWords;
  /** What the connection negotiated (negotiated.ts). Undefined in a version without these words. */
  readonly negotiated: DurableWords | undefined;
  readonly ignored: Ignored | undefined;
}

interface VifNumbers {
  readonly domid: number;
  readonly handle: number;
}

/**
 * Returns a vif's journal from the bytes of a file. If the bytes belong to another connection, it starts an empty one.
 * @param version of the journal, or of the one that it starts.
 * @param afterStore runs after each store; a simulation kills the process there.
 */
export function readVifJournal(
  bytes: Uint8Array,
  vif: VifNumbers,
  settings: FrontendSettings,
  version: JournalVersion,
  afterStore?: () => void,
): VifJournal {
  const layout = LAYOUTS[version].vif;
  const words = new DurableWords(
    new Uint32Array(bytes.buffer, bytes.byteOffset, layout.words.words),
    afterStore,
  );
  const head = headOf(vif, settings, version);
  const found = partsOf(words, version);
  const fill = (why?: Ignored) => found.fresh.store(0, why === 'foreign' ? FRESH_AFTER_ANOTHER : FRESH);
  let ignored = claimJournal(words, head, fill);
  if (!isSoundHash(found.hash, settings.queues.length)) {
    beginJournal(words, head, fill);
    ignored = 'damaged';
  }
  if (found.negotiated !== undefined) recordNegotiated(found.negotiated, settings);
  return { ...found, ignored };
}

/**
 * Returns what a journal records of the vif's connection, and changes nothing.
 * @returns undefined if it is the journal of another vif, or of a version without that, or if it is damaged.
 */
export function connectionIn(
  bytes: Uint8Array,
  vif: VifNumbers,
  version: JournalVersion,
): FrontendSettings | undefined {
  const { words: count } = LAYOUTS[version].vif.words;
  const words = new DurableWords(new Uint32Array(bytes.buffer, bytes.byteOffset, count));
  const { negotiated } = partsOf(words, version);
  const settings = negotiated && recordedNegotiated(negotiated);
  if (settings === undefined) return undefined;
  return isOurs(words.view, headOf(vif, settings, version)) ? settings : undefined;
}

function headOf(
  { domid, handle }: VifNumbers,
  { queues, control }: FrontendSettings,
  version: JournalVersion,
): JournalHead {
  // No other connection has the rings and ports of the first queue.
  const { txRingRef, rxRingRef, txPort, rxPort } = queues[0];
  const rings = [txRingRef, rxRingRef, txPort, rxPort, control?.ringRef ?? 0, control?.port ?? 0];
  return { magic: MAGICS.vif, version, names: [domid, handle, queues.length, ...rings] };
}

function partsOf(words: DurableWords, version: JournalVersion): Omit<VifJournal, 'ignored'> {
  const { parts } = LAYOUTS[version].vif.words;
  const find = (name: string): DurableWords | undefined => {
    const part = parts.find((one) => one.name === name);
    return part && words.part(part.at, part.words);
  };
  const get = (name: string) => find(name) as DurableWords;
  return {
    multicast: get('multicast'),
    credit: get('credit'),
    hash: get('hash'),
    control: get('control'),
    resumes: get('resumes'),
    controlWrapped: get('controlWrapped'),
    fresh: get('fresh'),
    negotiated: find('negotiated'),
  };
}
