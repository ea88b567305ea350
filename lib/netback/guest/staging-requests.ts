import * as control from '../../protocol/control.js';
import { type Access, PAGE_SIZE } from '../../xen/seam.js';
import type { GuestPage } from './guest-page.js';
import { STAGED_MAX, type Staging } from './staging.js';

const { CTRL_INVALID_PARAMETER, CTRL_SUCCESS } = control;
const { GREF_ENTRY_BYTES, GREF_READONLY } = control;
const ENTRY_WORDS = GREF_ENTRY_BYTES / 4;
/** Entries of one request: its list is one page. */
export const ENTRIES_MAX = PAGE_SIZE / GREF_ENTRY_BYTES;

/** Adds and takes back grants that stay mapped, as netif.h and Xen's netif-staging-grants have it. No other backend does. */
export class StagingRequests {
  /** What the last request is answered with, besides its status. */
  data = 0;
  readonly #of: (queue: number) => Staging | undefined;
  readonly #page: GuestPage;
  /** Something is leaving it. */
  #left: Staging | undefined;

  /** @param of undefined for a queue that the guest does not have. */
  constructor(of: (queue: number) => Staging | undefined, page: GuestPage) {
    this.#of = of;
    this.#page = page;
  }

  size(queue: number): number {
    const staging = this.#of(queue);
    this.data = staging === undefined ? 0 : STAGED_MAX;
    return staging === undefined ? CTRL_INVALID_PARAMETER : CTRL_SUCCESS;
  }

  add(queue: number, ref: number, entries: number): number {
    this.data = 0;
    const staging = this.#of(queue);
    if (staging === undefined || !this.#read(ref, entries)) return CTRL_INVALID_PARAMETER;
    const wanted = this.#wanted(entries);
    return wanted !== undefined && staging.add(wanted) ? CTRL_SUCCESS : CTRL_INVALID_PARAMETER;
  }

  /**
   * Says of each entry whether it was taken back, in the guest's page, and then takes them back.
   * @param at the request's place in the control ring.
   */
  remove(queue: number, ref: number, entries: number, at: number): number {
    this.data = 0;
    const staging = this.#of(queue);
    if (staging === undefined || !this.#read(ref, entries)) return CTRL_INVALID_PARAMETER;
    const { words } = this.#page;
    const gone = new Set<number>();
    for (let entry = 0; entry < entries; entry++) {
      const its = words[entry * ENTRY_WORDS];
      const found = staging.has(its) && !gone.has(its);
      if (found) gone.add(its);
      const status = found ? CTRL_SUCCESS : CTRL_INVALID_PARAMETER;
      const flags = words[entry * ENTRY_WORDS + 1] & 0xffff;
      words[entry * ENTRY_WORDS + 1] = flags | (status << 16);
    }
    if (!this.#page.write(ref, entries * GREF_ENTRY_BYTES)) return CTRL_INVALID_PARAMETER;
    staging.remove([...gone], at);
    this.#left = staging;
    this.data = gone.size;
    return CTRL_SUCCESS;
  }

  /** The last request is answered. */
  settle(): void {
    this.#left?.settle();
    this.#left = undefined;
  }

  #read(ref: number, entries: number): boolean {
    return entries <= ENTRIES_MAX && this.#page.read(ref, entries * GREF_ENTRY_BYTES);
  }

  /** @returns undefined when the list cannot be: a grant twice, or a flag that nobody knows. */
  #wanted(entries: number): ReadonlyMap<number, Access> | undefined {
    const { words } = this.#page;
    const wanted = new Map<number, Access>();
    for (let entry = 0; entry < entries; entry++) {
      const flags = words[entry * ENTRY_WORDS + 1] & 0xffff;
      if ((flags & ~GREF_READONLY) !== 0) return undefined;
      wanted.set(words[entry * ENTRY_WORDS], flags === GREF_READONLY ? 'read' : 'write');
    }
    return wanted.size === entries ? wanted : undefined;
  }
}
