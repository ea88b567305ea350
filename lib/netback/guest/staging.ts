import { Banks } from '../../durable/banks.js';
import type { DurableWords } from '../../durable/durable-words.js';
import { STAGED, STAGED_BANKS } from '../../durable/layout.js';
import type { Access, StagedGrants } from '../../xen/seam.js';

/** Grants of a queue that may stay mapped: as many as both its rings have slots, twice. */
export const STAGED_MAX = 1024;

const { count: COUNT, leaving: LEAVING, leavingAt: LEAVING_AT, refs: REFS, writes: WRITES } = STAGED.at;
const BANKS = { first: STAGED_BANKS.at.banks, bankWords: STAGED.words, bit: 0 };

/** What a list of grants is, in memory of ours. */
interface Lists {
  readonly staged: Map<number, Access>;
  /** Taken back by a request that is not answered yet. */
  readonly leaving: Map<number, Access>;
  /** That request's place in the control ring. */
  readonly leavingAt: number;
}

/**
 * The grants that a guest keeps mapped for one queue (netif.h, "Static Grants"). The list lies in the journal's memory, for
 * the next life to map them again; a change is written beside what counts, and one store makes it count.
 *
 * What the guest takes back is *leaving* until it is answered: a life that is killed before leaves the request to the next
 * one, which must find them to give the same answer.
 */
export class Staging implements Disposable {
  /** For batches. */
  readonly grants: StagedGrants;
  readonly #words: DurableWords;
  readonly #banks: Banks;
  #lists: Lists;

  /** @param words STAGED_BANKS of them. What stands there must be sound (`isSoundStaging`). */
  constructor(words: DurableWords, grants: StagedGrants) {
    this.#words = words;
    this.#banks = new Banks(words, BANKS);
    this.grants = grants;
    this.#lists = listsIn(words);
  }

  /** The connection is served from its beginning: nobody was told of anything yet. */
  begin(): void {
    this.#words.clear();
    this.#lists = listsIn(this.#words);
  }

  get size(): number {
    return this.#lists.staged.size;
  }

  /**
   * Maps again what an earlier life had. What the guest does not grant any more is forgotten.
   * @param answered how far the control ring is answered: what was leaving before has left.
   */
  resume(answered: number): void {
    const { staged, leavingAt, leaving } = this.#lists;
    const lost: number[] = [];
    for (const access of ['read', 'write'] as const) {
      const refs = [...staged.keys()].filter((ref) => staged.get(ref) === access);
      this.#map(refs, access, lost);
    }
    const left = leaving.size > 0 && leavingAt !== answered;
    if (lost.length === 0 && !left) return;
    const kept = new Map([...staged].filter(([ref]) => !lost.includes(ref)));
    this.#write({ staged: kept, leaving: left ? new Map() : leaving, leavingAt });
  }

  /** Maps grants: all or none. Those that are there are no fault, so that a request may come twice. */
  add(wanted: ReadonlyMap<number, Access>): boolean {
    const { staged, leaving, leavingAt } = this.#lists;
    const fresh = [...wanted].filter(([ref]) => !staged.has(ref));
    if (fresh.length + staged.size + leaving.size > STAGED_MAX) return false;
    for (const [ref, access] of wanted) if ((staged.get(ref) ?? access) !== access) return false;
    const of = (access: Access) => fresh.filter(([, its]) => its === access).map(([ref]) => ref);
    const [reads, writes] = [of('read'), of('write')];
    if (!this.grants.add(reads, 'read')) return false;
    if (!this.grants.add(writes, 'write')) {
      this.grants.remove(reads);
      return false;
    }
    this.#write({ staged: new Map([...staged, ...fresh]), leaving, leavingAt });
    return true;
  }

  /** Whether the guest may take it back. */
  has(ref: number): boolean {
    return this.#lists.staged.has(ref) || this.#lists.leaving.has(ref);
  }

  /** Unmaps grants; `settle` ends it. @param at the request's place in the control ring. */
  remove(refs: readonly number[], at: number): void {
    const { staged } = this.#lists;
    const rest = new Map(staged);
    const leaving = new Map(this.#lists.leaving);
    for (const ref of refs) {
      const access = rest.get(ref);
      if (access === undefined) continue;
      rest.delete(ref);
      leaving.set(ref, access);
    }
    this.#write({ staged: rest, leaving, leavingAt: at });
    this.grants.remove(refs);
  }

  /** The guest was answered: what was leaving has left. */
  settle(): void {
    const { staged, leaving, leavingAt } = this.#lists;
    if (leaving.size > 0) this.#write({ staged, leaving: new Map(), leavingAt });
  }

  [Symbol.dispose](): void {
    this.grants[Symbol.dispose]();
  }

  /** Adds to `lost` what cannot be mapped. */
  #map(refs: readonly number[], access: Access, lost: number[]): void {
    if (refs.length === 0 || this.grants.add(refs, access)) return;
    if (refs.length === 1) {
      lost.push(refs[0]);
      return;
    }
    // All or none, and not said which is bad.
    const half = refs.length >>> 1;
    this.#map(refs.slice(0, half), access, lost);
    this.#map(refs.slice(half), access, lost);
  }

  #write(lists: Lists): void {
    const words = this.#words;
    const bank = this.#banks.other;
    const entries = [...lists.staged, ...lists.leaving];
    words.clear(bank, bank + STAGED.words);
    words.store(bank + COUNT, lists.staged.size);
    words.store(bank + LEAVING, lists.leaving.size);
    words.store(bank + LEAVING_AT, lists.leavingAt);
    const refs = entries.map(([ref]) => ref);
    words.copy(bank + REFS, refs, refs.length);
    const writes = new Uint32Array(STAGED_MAX / 32);
    for (const [place, [, access]] of entries.entries())
      if (access === 'write') writes[place >>> 5] |= 1 << (place & 31);
    words.copy(bank + WRITES, writes, writes.length);
    this.#banks.commit();
    this.#lists = lists;
  }
}

function listsIn(durable: DurableWords): Lists {
  const words = durable.view;
  const bank = new Banks(durable, BANKS).current;
  const [count, leaving] = [words[bank + COUNT], words[bank + LEAVING]];
  const entries = Array.from({ length: count + leaving }, (_, place): [number, Access] => {
    const writes = ((words[bank + WRITES + (place >>> 5)] >>> (place & 31)) & 1) !== 0;
    return [words[bank + REFS + place], writes ? 'write' : 'read'];
  });
  return {
    staged: new Map(entries.slice(0, count)),
    leaving: new Map(entries.slice(count)),
    leavingAt: words[bank + LEAVING_AT],
  };
}

/** What stands in a journal is of nobody any more. */
export function forgetStaged(words: DurableWords): void {
  const { staged, leaving } = listsIn(words);
  if (staged.size + leaving.size > 0) words.clear();
}

/** Whether what a journal has can be a guest's lists: no more than there is room for, and each grant once. */
export function isSoundStaging(words: DurableWords): boolean {
  const { view } = words;
  if (view[0] > 1) return false;
  const bank = new Banks(words, BANKS).current;
  const count = view[bank + COUNT] + view[bank + LEAVING];
  if (count > STAGED_MAX) return false;
  const refs = new Set<number>();
  for (let place = 0; place < count; place++) refs.add(view[bank + REFS + place]);
  return refs.size === count;
}
