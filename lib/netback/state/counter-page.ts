import { DurableWords } from '../../durable/durable-words.js';
import { countersNameOf, type Journals } from '../../durable/journal.js';
import { beginJournal, claimJournal, type Ignored, type JournalHead } from '../../durable/journal-head.js';
import { JOURNAL_VERSION, MAGICS } from '../../durable/layout.js';
import { openJournal } from '../../durable/open-journal.js';
import { AT_PORT_DROPPED, COUNTER_PAGE_DOUBLES } from '../frames/counter-layout.js';
import type { VifAddress } from '../vif-info.js';

const PAGE_BYTES = COUNTER_PAGE_DOUBLES * Float64Array.BYTES_PER_ELEMENT;
/** The largest valid count: more than 200 years of 10 Gbit/s in bytes. From 2^53 on a double is not exact, and still never decreases. */
const COUNT_MAX = 2 ** 63;

/** A vif's counts in a journal, `vif7.0.counters`. The journal belongs to the vif and not to a connection. */
export interface CounterPage {
  /** For VifCounters. */
  readonly counts: Float64Array;
  /** Why the journal's content was ignored; undefined if it was not. */
  readonly ignored: Ignored | undefined;
  /** The version that was found, if this vifd does not read it. */
  readonly unknownVersion: number | undefined;
  /** Returns why the page would no longer outlive the process; undefined if it would. */
  lost(): string | undefined;
  /** Closes the journal; its content remains. The caller does not use `counts` afterwards. Idempotent. */
  close(): void;
}

/** Opens a vif's page. A page that belongs to another vif or is damaged is started anew. @throws VifdError ERR_JOURNAL. */
export function openCounterPage(journals: Journals, vif: VifAddress): CounterPage {
  const name = countersNameOf(vif.id);
  const { pages, unknownVersion } = openJournal(journals, {
    name,
    kind: 'counters',
    version: JOURNAL_VERSION,
  });
  const { bytes } = pages;
  const ignored = claim(bytes, vif);
  return {
    ...{ counts: countsIn(bytes), ignored, unknownVersion },
    lost: () => pages.lost(),
    close: () => pages.close(),
  };
}

/**
 * Replaces a lost page by a new one with these counts. A kill leaves the whole new page or none.
 * @throws VifdError ERR_JOURNAL.
 */
export function renewCounterPage(journals: Journals, vif: VifAddress, counts: Float64Array): CounterPage {
  const content = new Uint8Array(PAGE_BYTES);
  claim(content, vif);
  countsIn(content).set(counts.subarray(AT_PORT_DROPPED), AT_PORT_DROPPED);
  journals.replace(countersNameOf(vif.id), content);
  return openCounterPage(journals, vif);
}

function claim(bytes: Uint8Array, { domid, handle }: VifAddress): Ignored | undefined {
  const words = new DurableWords(new Uint32Array(bytes.buffer, bytes.byteOffset, PAGE_BYTES / 4));
  const counts = countsIn(bytes).subarray(AT_PORT_DROPPED);
  const head: JournalHead = { magic: MAGICS.counters, version: JOURNAL_VERSION, names: [domid, handle] };
  // A kill interrupted the start of the page, so it counts as a new one.
  if (words.view[0] === 0 && counts.every((count) => count === 0)) words.clear();
  const ignored = claimJournal(words, head);
  if (counts.every(isCount)) return ignored;
  beginJournal(words, head);
  return 'damaged';
}

function countsIn(bytes: Uint8Array): Float64Array {
  return new Float64Array(bytes.buffer, bytes.byteOffset, COUNTER_PAGE_DOUBLES);
}

function isCount(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= COUNT_MAX;
}
