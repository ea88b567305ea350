import { VifdError } from '../../errors.js';
import type { Access, SharedPages, Shares } from '../../xen/seam.js';
import type { Life } from './life.js';
import { Allocation, type Grant, type GrantTables } from './memory.js';

export class ModelShares implements Shares {
  readonly #life: Life;
  readonly #tables: GrantTables;

  constructor(life: Life, tables: GrantTables) {
    this.#life = life;
    this.#tables = tables;
  }

  allocate(pages: number): SharedPages {
    this.#life.check('shares.allocate');
    if (!Number.isInteger(pages) || pages < 1) {
      throw new VifdError('ERR_ARGUMENT', `cannot allocate ${pages} pages: give a whole number above 0`);
    }
    return new ModelSharedPages(this.#life, this.#tables, pages);
  }
}

const NO_BYTES = new Uint8Array(0);
const NO_WORDS = new Uint32Array(0);

/**
 * `bytes` and `u32` are of another buffer each time a peer has unmapped one of the pages that it looked at: read
 * them again after each await. After disposal and after the end of the life they are empty.
 */
class ModelSharedPages implements SharedPages {
  readonly pages: number;
  readonly #life: Life;
  readonly #tables: GrantTables;
  readonly #grants = new Map<number, Grant>();
  readonly #withdraw: () => void;
  #allocation: Allocation | undefined;

  constructor(life: Life, tables: GrantTables, pages: number) {
    this.pages = pages;
    this.#life = life;
    this.#tables = tables;
    this.#allocation = new Allocation(pages);
    this.#withdraw = life.hold({ letGo: () => this.#free() });
  }

  get bytes(): Uint8Array {
    return this.#allocation?.bytes ?? NO_BYTES;
  }

  get u32(): Uint32Array {
    return this.#allocation?.u32 ?? NO_WORDS;
  }

  grant(page: number, domid: number, access: Access): number {
    this.#life.check('shares.grant');
    if (!Number.isInteger(page) || page < 0 || page >= this.pages) {
      throw new VifdError('ERR_ARGUMENT', `there is no page ${page}: this allocation has ${this.pages}`);
    }
    const allocation = this.#live();
    this.#life.step('shares.grant');
    const grant = this.#tables.add(this.#life.domid, allocation, page, domid, access);
    this.#grants.set(grant.ref, grant);
    return grant.ref;
  }

  end(ref: number): boolean {
    this.#life.check('shares.end');
    const grant = this.#grants.get(ref);
    if (grant === undefined) {
      throw new VifdError('ERR_ARGUMENT', `reference ${ref} is not a grant of these ${this.pages} pages`);
    }
    this.#life.step('shares.end');
    const ended = this.#tables.end(this.#life.domid, grant);
    if (ended) this.#grants.delete(ref);
    return ended;
  }

  [Symbol.dispose](): void {
    if (this.#allocation === undefined) return;
    this.#life.step('shares.dispose');
    this.#withdraw();
    this.#free();
  }

  #live(): Allocation {
    if (this.#allocation === undefined) {
      throw new VifdError('ERR_STATE', 'these shared pages were disposed of: allocate new ones');
    }
    return this.#allocation;
  }

  /** Whoever has a page mapped keeps the memory, as under Linux. */
  #free(): void {
    for (const grant of this.#grants.values()) this.#tables.abandon(this.#life.domid, grant);
    this.#grants.clear();
    this.#allocation = undefined;
  }
}
