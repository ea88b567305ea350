import { errnoName, type NativeSharedPages, type NativeShares } from '../../addon.js';
import { hostFault, VifdError } from '../../errors.js';
import { type Access, PAGE_SIZE, type SharedPages, type Shares } from '../seam.js';
import { requireCount, requireDomid } from './check.js';

const PAGES_MAX = 65_536;
const NO_BYTES = new Uint8Array(0);
const NO_WORDS = new Uint32Array(0);

/** Shares over xensim. Disposal frees all pages that are still allocated. */
export class XenShares implements Shares, Disposable {
  readonly #native: NativeShares;
  readonly #allocated = new Set<XenSharedPages>();
  #disposed = false;

  constructor(native: NativeShares) {
    this.#native = native;
  }

  allocate(pages: number): SharedPages {
    if (this.#disposed) throw new VifdError('ERR_STATE', 'This Xen was closed: open it again.');
    requireCount('pages to share', pages, PAGES_MAX);
    const native = this.#native.allocate(pages);
    if (typeof native === 'number') {
      throw hostFault(`Allocating ${pages} pages to share`, errnoName(native));
    }
    const shared: XenSharedPages = new XenSharedPages(native, pages, () => this.#allocated.delete(shared));
    this.#allocated.add(shared);
    return shared;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const shared of [...this.#allocated]) shared[Symbol.dispose]();
  }
}

class XenSharedPages implements SharedPages {
  readonly pages: number;
  readonly #native: NativeSharedPages;
  readonly #refs = new Set<number>();
  readonly #forget: () => void;
  #bytes: Uint8Array;
  #u32: Uint32Array;

  constructor(native: NativeSharedPages, pages: number, forget: () => void) {
    this.pages = pages;
    this.#native = native;
    this.#forget = forget;
    this.#bytes = new Uint8Array(native.buffer, 0, pages * PAGE_SIZE);
    this.#u32 = new Uint32Array(native.buffer, 0, (pages * PAGE_SIZE) / 4);
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get u32(): Uint32Array {
    return this.#u32;
  }

  grant(page: number, domid: number, access: Access): number {
    this.#check();
    if (!Number.isInteger(page) || page < 0 || page >= this.pages) {
      throw new VifdError('ERR_ARGUMENT', `There is no page ${page}: this allocation has ${this.pages}.`);
    }
    requireDomid(domid);
    const ref = this.#native.grant(page, domid, access === 'write');
    if (ref < 0) throw hostFault(`Granting page ${page} to domain ${domid}`, errnoName(ref));
    this.#refs.add(ref);
    return ref;
  }

  end(ref: number): boolean {
    this.#check();
    if (!this.#refs.has(ref)) {
      throw new VifdError('ERR_ARGUMENT', `Reference ${ref} is not a grant of these ${this.pages} pages.`);
    }
    const ended = this.#native.end(ref) === 0;
    if (ended) this.#refs.delete(ref);
    return ended;
  }

  [Symbol.dispose](): void {
    if (this.#bytes === NO_BYTES) return;
    this.#bytes = NO_BYTES;
    this.#u32 = NO_WORDS;
    this.#refs.clear();
    this.#forget();
    // Pages that a program has moved to another ArrayBuffer (`transfer`) end with that ArrayBuffer.
    this.#native.unmap();
  }

  #check(): void {
    if (this.#bytes !== NO_BYTES) return;
    throw new VifdError('ERR_STATE', 'These shared pages were disposed of: allocate new ones.');
  }
}
