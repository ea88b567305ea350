import { Banks } from '../../durable/banks.js';
import type { DurableWords } from '../../durable/durable-words.js';
import { STAGED, STAGED_BANKS } from '../../durable/layout.js';
import type { Access, StagedGrants } from '../../xen/seam.js';

/** The most grants of a queue that stay mapped: twice the number of slots of its two rings. */
export const STAGED_MAX = 1024;

const {
  count: COUNT,
  leaving: PENDING_REMOVAL,
  leavingAt: PENDING_REMOVAL_AT,
  refs: REFS,
  writes: WRITES,
} = STAGED.at;
const BANKS = { first: STAGED_BANKS.at.banks, bankWords: STAGED.words, bit: 0 };

/** A queue's grants that stay mapped, as the journal's words represent them. */
interface Lists {
  readonly staged: Map<number, Access>;
  /** Grants whose removal is pending: the removing request has no response yet. */
  readonly pendingRemoval: Map<number, Access>;
  /** That request's place in the control ring. */
  readonly pendingRemovalAt: number;
}

/**
 * The grants of one queue that a guest lets stay mapped (netif.h, "Static Grants"). The list is in the journal's memory, so that
 * the next process maps them again. A change is written into the other bank, and one store makes that bank valid.
 *
 * When the guest removes grants, their removal is pending until the response is published. After a kill before that, the next process executes
 * the request again, and must find the grants to give the same response.
 */
export class Staging implements Disposable {
  /** The mapped grants, for batches. */
  readonly grants: StagedGrants;
  readonly #words: DurableWords;
  readonly #banks: Banks;
  #lists: Lists;

  /** @param words the words of a STAGED_BANKS. Their content must be sound (`isSoundStaging`). */
  constructor(words: DurableWords, grants: StagedGrants) {
    this.#words = words;
    this.#banks = new Banks(words, BANKS);
    this.grants = grants;
    this.#lists = listsIn(words);
  }

  /** Starts an empty list for a new connection. */
  begin(): void {
    this.#words.clear();
    this.#lists = listsIn(this.#words);
  }

  get size(): number {
    return this.#lists.staged.size;
  }

  /**
   * Maps the grants that the previous process had mapped. Forgets those that the guest no longer grants.
   * @param responded the index up to which the control ring has responses: a pending removal before it is complete.
   */
  resume(responded: number): void {
    const { staged, pendingRemovalAt, pendingRemoval } = this.#lists;
    const lost: number[] = [];
    for (const access of ['read', 'write'] as const) {
      const refs = [...staged.keys()].filter((ref) => staged.get(ref) === access);
      this.#map(refs, access, lost);
    }
    const isRemoved = pendingRemoval.size > 0 && pendingRemovalAt !== responded;
    if (lost.length === 0 && !isRemoved) return;
    const mapped = new Map([...staged].filter(([ref]) => !lost.includes(ref)));
    this.#write({
      staged: mapped,
      pendingRemoval: isRemoved ? new Map() : pendingRemoval,
      pendingRemovalAt,
    });
  }

  /**
   * Maps grants: all or none. Grants that are mapped already are not an error, so that a request may run twice.
   * @returns whether it did.
   */
  add(wanted: ReadonlyMap<number, Access>): boolean {
    const { staged, pendingRemoval, pendingRemovalAt } = this.#lists;
    const fresh = [...wanted].filter(([ref]) => !staged.has(ref));
    if (fresh.length + staged.size + pendingRemoval.size > STAGED_MAX) return false;
    for (const [ref, access] of wanted) if ((staged.get(ref) ?? access) !== access) return false;
    const of = (access: Access) => fresh.filter(([, its]) => its === access).map(([ref]) => ref);
    const [reads, writes] = [of('read'), of('write')];
    if (!this.grants.add(reads, 'read')) return false;
    if (!this.grants.add(writes, 'write')) {
      this.grants.remove(reads);
      return false;
    }
    this.#write({ staged: new Map([...staged, ...fresh]), pendingRemoval, pendingRemovalAt });
    return true;
  }

  /** Whether the guest may remove the grant. */
  has(ref: number): boolean {
    return this.#lists.staged.has(ref) || this.#lists.pendingRemoval.has(ref);
  }

  /** Unmaps grants; their removal is pending until `settle`. @param at the request's place in the control ring. */
  remove(refs: readonly number[], at: number): void {
    const { staged } = this.#lists;
    const rest = new Map(staged);
    const pendingRemoval = new Map(this.#lists.pendingRemoval);
    for (const ref of refs) {
      const access = rest.get(ref);
      if (access === undefined) continue;
      rest.delete(ref);
      pendingRemoval.set(ref, access);
    }
    this.#write({ staged: rest, pendingRemoval, pendingRemovalAt: at });
    this.grants.remove(refs);
  }

  /** Call it once the response is published: forgets the grants whose removal was pending. */
  settle(): void {
    const { staged, pendingRemoval, pendingRemovalAt } = this.#lists;
    if (pendingRemoval.size > 0) this.#write({ staged, pendingRemoval: new Map(), pendingRemovalAt });
  }

  [Symbol.dispose](): void {
    this.grants[Symbol.dispose]();
  }

  /** Maps grants, and adds those that the guest does not grant to `lost`. */
  #map(refs: readonly number[], access: Access, lost: number[]): void {
    if (refs.length === 0 || this.grants.add(refs, access)) return;
    if (refs.length === 1) {
      lost.push(refs[0]);
      return;
    }
    // The call maps all or none and does not report which grant is bad, so each half is tried alone.
    const half = refs.length >>> 1;
    this.#map(refs.slice(0, half), access, lost);
    this.#map(refs.slice(half), access, lost);
  }

  #write(lists: Lists): void {
    const words = this.#words;
    const bank = this.#banks.other;
    const entries = [...lists.staged, ...lists.pendingRemoval];
    words.clear(bank, bank + STAGED.words);
    words.store(bank + COUNT, lists.staged.size);
    words.store(bank + PENDING_REMOVAL, lists.pendingRemoval.size);
    words.store(bank + PENDING_REMOVAL_AT, lists.pendingRemovalAt);
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
  const [count, pendingRemoval] = [words[bank + COUNT], words[bank + PENDING_REMOVAL]];
  const entries = Array.from({ length: count + pendingRemoval }, (_, place): [number, Access] => {
    const writes = ((words[bank + WRITES + (place >>> 5)] >>> (place & 31)) & 1) !== 0;
    return [words[bank + REFS + place], writes ? 'write' : 'read'];
  });
  return {
    staged: new Map(entries.slice(0, count)),
    pendingRemoval: new Map(entries.slice(count)),
    pendingRemovalAt: words[bank + PENDING_REMOVAL_AT],
  };
}

/** Clears the list in a journal whose connection is over. */
export function forgetStaged(words: DurableWords): void {
  const { staged, pendingRemoval } = listsIn(words);
  if (staged.size + pendingRemoval.size > 0) words.clear();
}

/** Whether the journal's words can be a guest's lists: no more grants than there is room for, and each grant once. */
export function isSoundStaging(words: DurableWords): boolean {
  const { view } = words;
  if (view[0] > 1) return false;
  const bank = new Banks(words, BANKS).current;
  const count = view[bank + COUNT] + view[bank + PENDING_REMOVAL];
  if (count > STAGED_MAX) return false;
  const refs = new Set<number>();
  for (let place = 0; place < count; place++) refs.add(view[bank + REFS + place]);
  return refs.size === count;
}
