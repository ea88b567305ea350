/** A journal that a connection has open. */
export interface JournalPages {
  /** They begin at a page, and are zeroed when new. What stands there is not trusted. */
  readonly bytes: Uint8Array;
  /** Why `bytes` would not outlive the process any more: their file was deleted or truncated. Undefined: they would. */
  lost(): string | undefined;
  /** The connection has ended: nothing looks at `bytes` any more. What stands in them stays. Idempotent. */
  close(): void;
}

/** Memory that outlives the process: what a life had begun, the next one ends. A piece for each queue, and one for the vif. */
export interface Journals {
  /**
   * @returns a journal of so many bytes, which stays open until it is closed.
   * @throws VifdError ERR_JOURNAL. The vif is then served without: as safe as after an orderly stop.
   */
  open(name: string, bytes: number): JournalPages;
  /** The names of those that there are of a vif: its own, and `<vif>.` and whatever. */
  names(vif: string): readonly string[];
  /** What it is of is over: nothing of it is to be found again. No error when there is none. */
  remove(name: string): void;
}

/** Whether a journal of this name is of that vif. */
export function isJournalOf(vif: string, name: string): boolean {
  return name === vif || name.startsWith(`${vif}.`);
}

/** Journals that outlive a backend's life, but not the process: for lives on the model. */
export function memoryJournals(): Journals {
  const journals = new Map<string, Uint8Array>();
  return {
    open: (name, bytes) => {
      const journal = journals.get(name) ?? new Uint8Array(bytes);
      journals.set(name, journal);
      return { bytes: journal, lost: () => undefined, close: () => {} };
    },
    names: (vif) => [...journals.keys()].filter((name) => isJournalOf(vif, name)),
    remove: (name) => void journals.delete(name),
  };
}

/**
 * Why what stood in a journal was not used and the journal begun anew. foreign: it is of another connection, of another
 * version, or none at all. damaged: it is ours, and what it lists cannot be.
 */
export type Ignored = 'foreign' | 'damaged';

// The head of every journal, in words: magic, version, and the names of what it belongs to.
const AT_MAGIC = 0;
const AT_VERSION = 1;
const AT_NAMES = 2;
/** A journal's own words begin here. */
export const JOURNAL_HEAD_WORDS = 16;
/** Of all layouts: a journal of another version is another's. */
const VERSION = 7;

/**
 * Looks whose a journal is; another's is begun anew.
 * @param names of what it belongs to, at most JOURNAL_HEAD_WORDS - 2.
 * @returns 'foreign' when something stood there that is not ours.
 */
export function claimJournal(words: Uint32Array, magic: number, names: Uint32Array): 'foreign' | undefined {
  const ours =
    words[AT_MAGIC] === magic &&
    words[AT_VERSION] === VERSION &&
    names.every((name, i) => words[AT_NAMES + i] === name);
  if (ours) return undefined;
  const isNew = words.every((word) => word === 0);
  beginJournal(words, magic, names);
  return isNew ? undefined : 'foreign';
}

/** Whether something of this kind stands there, whosever it is. */
export function isJournal(words: Uint32Array, magic: number): boolean {
  return words[AT_MAGIC] === magic;
}

/** The magic is taken away first and given last: a kill in between leaves memory that is nobody's. */
export function beginJournal(words: Uint32Array, magic: number, names: Uint32Array): void {
  Atomics.store(words, AT_MAGIC, 0);
  words.fill(0);
  words[AT_VERSION] = VERSION;
  words.set(names, AT_NAMES);
  Atomics.store(words, AT_MAGIC, magic);
}
