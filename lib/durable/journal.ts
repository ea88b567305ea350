import { headOfUnusable } from './journal-head.js';

/** The memory of an open journal. */
export interface JournalPages {
  /** Begin at a page; zeroed in a new journal. vifd does not trust the content. */
  readonly bytes: Uint8Array;
  /** Returns why `bytes` would no longer outlive the process (their file was deleted or truncated), or undefined if they would. */
  lost(): string | undefined;
  /** Closes the journal; its content remains. The caller does not use `bytes` afterwards. Idempotent. */
  close(): void;
}

/**
 * Memory that outlives the process, so that the next process completes what this one began. One journal for each queue, and one for the
 * vif.
 */
export interface Journals {
  /**
   * Opens the journal of this name, or creates it.
   * @param otherBytes lengths of journals in other versions: a journal of such a length is opened as it is.
   * @returns a journal of `bytes` bytes, or of one of `otherBytes`. It is open until its `close`.
   * @throws VifdError ERR_JOURNAL. The vif is then served without a journal: safe across an orderly stop, but not across a kill.
   */
  open(name: string, bytes: number, otherBytes?: readonly number[]): JournalPages;
  /**
   * Replaces the journal of this name by one with this content. A kill leaves the old journal or the new one, whole. Pages that are open
   * belong to the old journal until they are closed.
   * @throws VifdError ERR_JOURNAL; the old journal is unchanged.
   */
  replace(name: string, content: Uint8Array): void;
  /** Returns the names of a vif's journals: `<vif>`, and all names that begin with `<vif>.`. */
  names(vif: string): readonly string[];
  /** Deletes the journal. A missing journal is not an error. */
  remove(name: string): void;
}

/** Whether a journal of this name belongs to that vif. */
export function isJournalOf(vif: string, name: string): boolean {
  return name === vif || name.startsWith(`${vif}.`);
}

/** Returns the name of the journal with a vif's counters. That journal belongs to the vif and not to a connection. */
export function countersNameOf(vif: string): string {
  return `${vif}.counters`;
}

/** Returns journals that outlive a backend but not the process, for backends on the model. */
export function memoryJournals(): Journals {
  const journals = new Map<string, Uint8Array>();
  return {
    open: (name, bytes, otherBytes = []) => {
      const found = journals.get(name);
      const isUsable = found !== undefined && [bytes, ...otherBytes].includes(found.length);
      const journal = isUsable ? found : new Uint8Array(bytes);
      if (found !== undefined && !isUsable)
        new Uint32Array(journal.buffer).set(headOfUnusable(wordsOf(found)));
      journals.set(name, journal);
      return { bytes: journal, lost: () => undefined, close: () => {} };
    },
    replace: (name, content) => void journals.set(name, content.slice()),
    names: (vif) => [...journals.keys()].filter((name) => isJournalOf(vif, name)),
    remove: (name) => void journals.delete(name),
  };
}

const wordsOf = (bytes: Uint8Array) => new Uint32Array(bytes.buffer, bytes.byteOffset, 2);
