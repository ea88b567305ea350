import { isJournalOf, type Journals } from '../lib/durable/journal.js';
import { JOURNAL_VERSION, LAYOUTS } from '../lib/durable/layout.js';
import { VifdError } from '../lib/errors.js';
import { readQueueJournal } from '../lib/netback/state/queue-journal.js';
import type { Random } from '../lib/testing/model/random.js';
import type { ArenaPool } from './arenas.js';
import type { Harm, TamperedWord } from './scenario.js';

/** Only this many bytes from the start are spoilt: the logs and the lists of frames, where most harm is done. Frames' bytes lie behind. */
const LOGS_BYTES = 8192;
const FLIPS_MAX = 8;

/** Journals that outlive the backend's processes, and can be spoilt between them. */
export class SimJournals {
  readonly #arenas: ArenaPool;
  readonly #pages = new Map<string, Uint8Array>();
  readonly #refused = new Set<string>();

  constructor(arenas: ArenaPool) {
    this.#arenas = arenas;
  }

  /** The journals that exist, by name. */
  get pages(): ReadonlyMap<string, Uint8Array> {
    return this.#pages;
  }

  /** Changes words to the values that another order of stores would have left. */
  tamper(words: readonly TamperedWord[]): void {
    for (const { journal, word, value } of words) {
      const page = this.#pages.get(journal);
      if (page !== undefined) new Uint32Array(page.buffer, page.byteOffset)[word] = value;
    }
  }

  /** Returns the journals as a process sees them: the process may be killed before and after each call. */
  of(step: (what: string) => void): Journals {
    return {
      open: (name, bytes) => {
        step(`open journal ${name}`);
        const page = this.#open(name, bytes);
        step(`journal ${name} is open`);
        return { bytes: page, lost: () => undefined, close: () => {} };
      },
      replace: (name, content) => {
        step(`replace journal ${name}`);
        const page = this.#arenas.take(content.length).bytes;
        page.set(content);
        this.#pages.set(name, page);
        step(`journal ${name} is replaced`);
      },
      names: (vif) => this.#names(vif),
      remove: (name) => {
        step(`remove journal ${name}`);
        this.#pages.delete(name);
        step(`journal ${name} is removed`);
      },
    };
  }

  #names(vif: string): string[] {
    return [...this.#pages.keys()].filter((name) => isJournalOf(vif, name));
  }

  #open(name: string, bytes: number): Uint8Array {
    if (this.#refused.has(name)) {
      throw new VifdError('ERR_JOURNAL', `Journal ${name} cannot be used (ENOSPC).`, { errno: 'ENOSPC' });
    }
    const page = this.#pages.get(name) ?? this.#arenas.take(bytes).bytes;
    this.#pages.set(name, page);
    return page;
  }

  /** @returns whether there was a journal to spoil. */
  spoil(vif: string, how: Harm, random: Random): boolean {
    const names = this.#names(vif);
    for (const name of names) {
      if (how === 'refuse') this.#refused.add(name);
      else this.#spoilPage(name, this.#pages.get(name)!, how, random);
    }
    return names.length > 0;
  }

  refuses(vif: string): boolean {
    return [...this.#refused].some((name) => isJournalOf(vif, name));
  }

  /** Ends the fault of a full disk. */
  relent(): void {
    this.#refused.clear();
  }

  #spoilPage(name: string, page: Uint8Array, how: Exclude<Harm, 'refuse'>, random: Random): void {
    const place = () => random.below(random.below(4) > 0 ? LOGS_BYTES : page.length);
    if (how === 'flip') {
      for (let flips = 1 + random.below(FLIPS_MAX); flips > 0; flips--) page[place()] ^= 1 << random.below(8);
    } else if (how === 'truncate') {
      // As journalFiles returns a file that was too short.
      page.fill(0, place());
      page.fill(0xff, 0, 4);
    } else if (how === 'noise') for (let i = 0; i < LOGS_BYTES; i++) page[i] = random.below(256);
    else page.set(this.#foreign(name, page.length));
  }

  /** Returns the journal of another vif, or of a connection that no guest has. */
  #foreign(name: string, bytes: number): Uint8Array {
    for (const [other, page] of this.#pages) if (other !== name && page.length === bytes) return page;
    const page = this.#arenas.take(LAYOUTS[JOURNAL_VERSION].queue.bytes).bytes;
    const nobody = { domid: 99, handle: 0, queue: 0, txRingRef: 8, rxRingRef: 9, txPort: 1, rxPort: 2 };
    readQueueJournal(page, nobody).fromGuest.log.commit(0, Uint32Array.of(1, 2, 3), 3, 0);
    return page.subarray(0, bytes);
  }
}
