import * as control from '../../protocol/control.js';
import { type Access, PAGE_SIZE } from '../../xen/seam.js';
import type { GuestPage } from './guest-page.js';
import { STAGED_MAX, type Staging } from './staging.js';

const { CTRL_INVALID_PARAMETER, CTRL_SUCCESS } = control;
const { GREF_ENTRY_BYTES, GREF_READONLY } = control;
const ENTRY_WORDS = GREF_ENTRY_BYTES / 4;
/** The most entries of a request, whose list is one page. */
export const ENTRIES_MAX = PAGE_SIZE / GREF_ENTRY_BYTES;

/** Adds and removes grants that stay mapped, as netif.h and Xen's netif-staging-grants specify. No other backend supports this. */
export class StagingRequests {
  /** The `data` of the response to the last request. */
  data = 0;
  readonly #of: (queue: number) => Staging | undefined;
  readonly #page: GuestPage;
  /** The queue of the last request if it has grants whose removal is pending. */
  #pendingRemoval: Staging | undefined;

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
   * Writes into the guest's page, for each entry, whether its grant is removed, and then removes the grants.
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
    this.#pendingRemoval = staging;
    this.data = gone.size;
    return CTRL_SUCCESS;
  }

  /** Call it once the response is published: completes the pending removal. */
  settle(): void {
    this.#pendingRemoval?.settle();
    this.#pendingRemoval = undefined;
  }

  #read(ref: number, entries: number): boolean {
    return entries <= ENTRIES_MAX && this.#page.read(ref, entries * GREF_ENTRY_BYTES);
  }

  /** @returns the grants of the list; undefined for an invalid list, which has a grant twice or an unknown flag. */
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
