import { RedoLog } from '../protocol/redo.js';
import { RX_RING, TX_RING } from '../protocol/ring.js';
import { BATCH_SLOTS } from './pump.js';

/** Memory that outlives the process, a page for each queue: what a life had begun, the next one ends. */
export interface Journals {
  /**
   * @returns JOURNAL_BYTES, zeroed when new. What stands there is not trusted.
   * @throws VifdError ERR_JOURNAL. The vif is then served without: as safe as after an orderly stop.
   */
  open(name: string): Uint8Array;
  /** The queue's connection is over: nothing of it is to be found again. No error when there is none. */
  remove(name: string): void;
}

export const JOURNAL_BYTES = 4096;

/** Journals that outlive a backend's life, but not the process: for lives on the model. */
export function memoryJournals(): Journals {
  const pages = new Map<string, Uint8Array>();
  return {
    open: (name) => {
      const page = pages.get(name) ?? new Uint8Array(JOURNAL_BYTES);
      pages.set(name, page);
      return page;
    },
    remove: (name) => void pages.delete(name),
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

export interface Journal {
  readonly tx: RedoLog;
  readonly rx: RedoLog;
  /** The page held another connection's journal, or nothing that could be one, and was begun anew. */
  readonly ignored: boolean;
}

/** 'VIFJ', and the layout's version: a page of another version is another's. */
const MAGIC = 0x4a464956;
const VERSION = 1;

// Layout in words: magic, version, identity, then the logs.
const AT_MAGIC = 0;
const AT_VERSION = 1;
const AT_IDENTITY = 2;
const AT_TX = 16;
const TX_WORDS = RedoLog.words(BATCH_SLOTS, TX_RING.responseWords);
const AT_RX = AT_TX + TX_WORDS;
const RX_WORDS = RedoLog.words(BATCH_SLOTS, RX_RING.responseWords);

/** The one place where bytes of a page become a journal. Of another connection's nothing is taken over. */
export function readJournal(page: Uint8Array, identity: RingIdentity): Journal {
  const words = new Uint32Array(page.buffer, page.byteOffset, JOURNAL_BYTES / 4);
  const names = Uint32Array.of(
    identity.domid,
    identity.handle,
    identity.queue,
    identity.txRingRef,
    identity.rxRingRef,
    identity.txPort,
    identity.rxPort,
  );
  const ours =
    words[AT_MAGIC] === MAGIC &&
    words[AT_VERSION] === VERSION &&
    names.every((name, i) => words[AT_IDENTITY + i] === name);
  const ignored = !ours && words.some((word) => word !== 0);
  if (!ours) begin(words, names);
  return {
    tx: new RedoLog(words.subarray(AT_TX, AT_TX + TX_WORDS), TX_RING.responseWords),
    rx: new RedoLog(words.subarray(AT_RX, AT_RX + RX_WORDS), RX_RING.responseWords),
    ignored,
  };
}

/** The magic is taken away first and given last: a kill in between leaves a page that is nobody's. */
function begin(words: Uint32Array, names: Uint32Array): void {
  Atomics.store(words, AT_MAGIC, 0);
  words.fill(0);
  words[AT_VERSION] = VERSION;
  words.set(names, AT_IDENTITY);
  Atomics.store(words, AT_MAGIC, MAGIC);
}
