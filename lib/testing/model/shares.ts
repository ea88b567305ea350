import { VifdError } from '../../errors.js';
import type { Access, SharedPages, Shares } from '../../xen/seam.js';
import type { Instance } from './instance.js';
import { Allocation, type Grant, type GrantTables } from './memory.js';

/** `Shares` of the model. */
export class ModelShares implements Shares {
  readonly #instance: Instance;
  readonly #tables: GrantTables;

  constructor(instance: Instance, tables: GrantTables) {
    this.#instance = instance;
    this.#tables = tables;
  }

  allocate(pages: number): SharedPages {
    this.#instance.check('shares.allocate');
    if (!Number.isInteger(pages) || pages < 1) {
      throw new VifdError('ERR_ARGUMENT', `cannot allocate ${pages} pages: give a whole number above 0`);
    }
    return new ModelSharedPages(this.#instance, this.#tables, pages);
  }
}

const NO_BYTES = new Uint8Array(0);
const NO_WORDS = new Uint32Array(0);

/**
 * `bytes` and `u32` show another buffer each time a peer has unmapped one of the pages that it had read: read the properties again after each
 * await. After disposal and after the end of the instance they are empty.
 */
class ModelSharedPages implements SharedPages {
  readonly pages: number;
  readonly #instance: Instance;
  readonly #tables: GrantTables;
  readonly #grants = new Map<number, Grant>();
  readonly #withdraw: () => void;
  #allocation: Allocation | undefined;

  constructor(instance: Instance, tables: GrantTables, pages: number) {
    this.pages = pages;
    this.#instance = instance;
    this.#tables = tables;
    this.#allocation = new Allocation(pages);
    this.#withdraw = instance.hold({ release: () => this.#free() });
  }

  get bytes(): Uint8Array {
    return this.#allocation?.bytes ?? NO_BYTES;
  }

  get u32(): Uint32Array {
    return this.#allocation?.u32 ?? NO_WORDS;
  }

  grant(page: number, domid: number, access: Access): number {
    this.#instance.check('shares.grant');
    if (!Number.isInteger(page) || page < 0 || page >= this.pages) {
      throw new VifdError('ERR_ARGUMENT', `there is no page ${page}: this allocation has ${this.pages}`);
    }
    const allocation = this.#live();
    this.#instance.step('shares.grant');
    const grant = this.#tables.add(this.#instance.domid, allocation, page, domid, access);
    this.#grants.set(grant.ref, grant);
    return grant.ref;
  }

  end(ref: number): boolean {
    this.#instance.check('shares.end');
    const grant = this.#grants.get(ref);
    if (grant === undefined) {
      throw new VifdError('ERR_ARGUMENT', `reference ${ref} is not a grant of these ${this.pages} pages`);
    }
    this.#instance.step('shares.end');
    const ended = this.#tables.end(this.#instance.domid, grant);
    if (ended) this.#grants.delete(ref);
    return ended;
  }

  [Symbol.dispose](): void {
    if (this.#allocation === undefined) return;
    this.#instance.step('shares.dispose');
    this.#withdraw();
    this.#free();
  }

  #live(): Allocation {
    if (this.#allocation === undefined) {
      throw new VifdError('ERR_STATE', 'these shared pages were disposed of: allocate new ones');
    }
    return this.#allocation;
  }

  /** Ends all grants. Memory that another domain has mapped stays until it is unmapped, as under Linux. */
  #free(): void {
    for (const grant of this.#grants.values()) this.#tables.abandon(this.#instance.domid, grant);
    this.#grants.clear();
    this.#allocation = undefined;
  }
}
