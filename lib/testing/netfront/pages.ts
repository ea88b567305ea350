import { VifdError } from '../../errors.js';
import { type Access, PAGE_SIZE, type SharedPages } from '../../xen/seam.js';

const NO_REF = -1;

export interface PageRingOptions {
  readonly pool: SharedPages;
  readonly backendDomid: number;
  readonly access: Access;
  /** Whether grants last as long as the pages, instead of from request to response: faster, and checks less. */
  readonly keepGrants: boolean;
}

/** Grants of single pages of a pool. A grant ends with the response, or lasts as long as the page (`keepGrants`). */
export class PageGrants {
  readonly pool: SharedPages;
  readonly #options: PageRingOptions;
  /** By page: the lasting grant, or NO_REF. Used only with `keepGrants`. */
  readonly #lasting: Int32Array;

  constructor(options: PageRingOptions) {
    this.pool = options.pool;
    this.#options = options;
    this.#lasting = new Int32Array(options.pool.pages).fill(NO_REF);
  }

  grant(page: number): number {
    const { backendDomid, access, keepGrants } = this.#options;
    if (!keepGrants) return this.pool.grant(page, backendDomid, access);
    if (this.#lasting[page] === NO_REF) this.#lasting[page] = this.pool.grant(page, backendDomid, access);
    return this.#lasting[page] as number;
  }

  /** Returns the grants of all pages. Only with `keepGrants`. */
  all(): number[] {
    if (!this.#options.keepGrants)
      throw new VifdError(
        'ERR_ARGUMENT',
        'grants that end with a request cannot be named before: keepGrants',
      );
    return Array.from({ length: this.pool.pages }, (_, page) => this.grant(page));
  }

  /** @returns false if the backend still has the page mapped. The grant then never ends. */
  end(ref: number): boolean {
    return this.#options.keepGrants || this.pool.end(ref);
  }
}

/**
 * Pages of a pool in the order in which frames fill them. Pages may be released in any order, but become free
 * in the order in which they were taken, so that the free pages are one run (or two, around the end).
 */
export class PageRing {
  readonly #pages: number;
  /** How many slots use a page: the end of one frame may share it with the beginning of the next. */
  readonly #uses: Uint8Array;
  /** Both only grow; their difference is the number of pages that are in use or wait for an older page. */
  #head = 0;
  #tail = 0;

  constructor(pages: number) {
    this.#pages = pages;
    this.#uses = new Uint8Array(pages);
  }

  /**
   * Finds a contiguous run of free pages, at least `atLeast` long. Passes over the rest of the pool where the run at
   * its end is too short.
   * @returns its first page, or -1.
   */
  area(atLeast: number): number {
    this.#advance();
    const atHead = this.#head % this.#pages;
    const free = this.#pages - (this.#head - this.#tail);
    const toEnd = this.#pages - atHead;
    if (toEnd >= atLeast) return free >= atLeast ? atHead : -1;
    if (free - toEnd < atLeast) return -1;
    this.#head += toEnd;
    return 0;
  }

  /** Length of the run that `area` found. */
  run(): number {
    const atHead = this.#head % this.#pages;
    return Math.min(this.#pages - (this.#head - this.#tail), this.#pages - atHead);
  }

  /** Takes pages up to, and without, byte `end` of the pool; `end` lies in the run that `area` found. */
  takeUpTo(end: number): void {
    const endPage = Math.ceil(end / PAGE_SIZE);
    this.#head += endPage - (this.#head % this.#pages);
  }

  use(page: number): void {
    this.#uses[page] = (this.#uses[page] as number) + 1;
  }

  release(page: number): void {
    this.#uses[page] = (this.#uses[page] as number) - 1;
  }

  #advance(): void {
    while (this.#tail < this.#head && this.#uses[this.#tail % this.#pages] === 0) this.#tail += 1;
  }
}
