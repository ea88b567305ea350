import { DurableWords } from '../../durable/durable-words.js';
import { beginJournal, claimJournal, type Ignored, type JournalHead } from '../../durable/journal-head.js';
import { type JournalVersion, LAYOUTS, MAGICS } from '../../durable/layout.js';
import { isSoundHash } from '../guest/hash.js';
import type { FrontendSettings } from '../settings.js';
import { recordNegotiated } from './negotiated.js';

/** A connection that has not begun to move frames. */
export const FRESH = 1;
/** As FRESH, and the journal was another connection's before: what waits in the port was sent to that one. */
export const FRESH_AFTER_ANOTHER = 2;

/** What a guest programmed, and what its toolstack allows: of the connection as a whole, whichever queue it came by. */
export interface VifJournal {
  /** For a MulticastFilter. */
  readonly multicast: DurableWords;
  /** For a Credit. */
  readonly credit: DurableWords;
  /** For a HashState. */
  readonly hash: DurableWords;
  /** For a Control's log: the response that it had begun. */
  readonly control: DurableWords;
  /** One word: for a Control. */
  readonly controlWrapped: DurableWords;
  /** One word: how often the connection has gone on after an earlier life of the backend. */
  readonly resumes: DurableWords;
  /**
   * One word: FRESH or FRESH_AFTER_ANOTHER until the connection has dropped what was sent to the port before it. A journal of an earlier
   * version has 0 there: its connection has begun.
   */
  readonly fresh: DurableWords;
  /** What the connection negotiated (negotiated.ts). Undefined in a version that does not have it. */
  readonly negotiated: DurableWords | undefined;
  readonly ignored: Ignored | undefined;
}

/**
 * The one place where bytes become a vif's journal. Of another connection's nothing is used.
 * @param version that it has, or is begun with.
 * @param afterStore runs after each store: where a simulation kills.
 */
export function readVifJournal(
  bytes: Uint8Array,
  { domid, handle }: { readonly domid: number; readonly handle: number },
  settings: FrontendSettings,
  version: JournalVersion,
  afterStore?: () => void,
): VifJournal {
  const { queues, control } = settings;
  const layout = LAYOUTS[version].vif;
  const words = new DurableWords(
    new Uint32Array(bytes.buffer, bytes.byteOffset, layout.words.words),
    afterStore,
  );
  // The first queue's rings and ports are no other connection's.
  const { txRingRef, rxRingRef, txPort, rxPort } = queues[0];
  const rings = [txRingRef, rxRingRef, txPort, rxPort, control?.ringRef ?? 0, control?.port ?? 0];
  const head: JournalHead = { magic: MAGICS.vif, version, names: [domid, handle, queues.length, ...rings] };
  const found = partsOf(words, version);
  const fill = (why?: Ignored) => found.fresh.store(0, why === 'foreign' ? FRESH_AFTER_ANOTHER : FRESH);
  let ignored = claimJournal(words, head, fill);
  if (!isSoundHash(found.hash, queues.length)) {
    beginJournal(words, head, fill);
    ignored = 'damaged';
  }
  if (found.negotiated !== undefined) recordNegotiated(found.negotiated, settings);
  return { ...found, ignored };
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
