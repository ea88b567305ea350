import { headOfUnusable } from './journal-head.js';

/** A journal that a connection has open. */
export interface JournalPages {
  /** They begin at a page, and are zeroed when new. What stands there is not trusted. */
  readonly bytes: Uint8Array;
  /** Why `bytes` would not outlive the process any more: their file was deleted or truncated. Undefined: they would. */
  lost(): string | undefined;
  /** The connection has ended: nothing looks at `bytes` any more. What stands in them stays. Idempotent. */
  close(): void;
}

/** Memory that outlives the process: what a process had begun, the next one ends. A piece for each queue, and one for the vif. */
export interface Journals {
  /**
   * @param otherBytes how long a journal of another version may be: one that is so long is opened as it is.
   * @returns a journal of so many bytes, which stays open until it is closed.
   * @throws VifdError ERR_JOURNAL. The vif is then served without: as safe as after an orderly stop.
   */
  open(name: string, bytes: number, otherBytes?: readonly number[]): JournalPages;
  /**
   * Puts a journal of this content in the place of the one of that name. A kill leaves one of the two, whole. Who has the old one open keeps it.
   * @throws VifdError ERR_JOURNAL; the old one is as it was.
   */
  replace(name: string, content: Uint8Array): void;
  /** The names of those that there are of a vif: its own, and `<vif>.` and whatever. */
  names(vif: string): readonly string[];
  /** What it is of is over: nothing of it is to be found again. No error when there is none. */
  remove(name: string): void;
}

/** Whether a journal of this name is of that vif. */
export function isJournalOf(vif: string, name: string): boolean {
  return name === vif || name.startsWith(`${vif}.`);
}

/** The journal that has a vif's counters. It is of the vif, and of no connection. */
export function countersNameOf(vif: string): string {
  return `${vif}.counters`;
}

/** Journals that outlive a backend, but not the process: for backends on the model. */
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
