import { errnoName, type NativeGrants, type NativeMapping } from '../../addon.js';
import { VifdError } from '../../errors.js';
import {
  type Access,
  type Arena,
  type BatchOptions,
  type GrantBatch,
  type Grants,
  type Mapping,
  PAGE_SIZE,
  type StagedGrants,
} from '../types.js';
import { NativeArena } from './arena.js';
import { NativeGrantBatch } from './batch.js';
import { requireCount, requireDomid } from './check.js';
import { NativeStagedGrants } from './staged.js';

/** Whoever asks for more is confused: gntdev itself takes 65536 a call (linux/drivers/xen/gntdev.c, `limit`). */
const MAP_PAGES_MAX = 65_536;
/** How many bad references an error message names. */
const NAMED_MAX = 8;

/** Grants over libxengnttab. What is still mapped at disposal is unmapped. */
export class XenGrants implements Grants, Disposable {
  readonly #native: NativeGrants;
  readonly #held = new Set<Disposable>();
  #disposed = false;

  constructor(native: NativeGrants) {
    this.#native = native;
  }

  map(domid: number, refs: readonly number[], access: Access): Mapping {
    this.#check();
    requireDomid(domid);
    requireCount('pages to map', refs.length, MAP_PAGES_MAX);
    const mapped = this.#native.map(domid, Uint32Array.from(refs), access === 'write');
    if (typeof mapped === 'number') throw this.#refused(domid, refs, access, mapped);
    return this.#hold((forget) => new XenMapping(mapped, refs.length, forget));
  }

  arena(bytes: number): Arena {
    this.#check();
    requireCount('bytes of an arena', bytes, 2 ** 32 - PAGE_SIZE);
    return new NativeArena(bytes);
  }

  staged(domid: number): StagedGrants {
    this.#check();
    requireDomid(domid);
    return this.#hold((forget) => new NativeStagedGrants(this.#native, domid, forget));
  }

  batch(options: BatchOptions): GrantBatch {
    this.#check();
    requireDomid(options.domid);
    requireCount('operations of a batch', options.capacity, MAP_PAGES_MAX);
    return this.#hold((forget) => new NativeGrantBatch(this.#native, options, forget));
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const held of [...this.#held]) held[Symbol.dispose]();
  }

  #hold<T extends Disposable>(make: (forget: () => void) => T): T {
    const held: T = make(() => this.#held.delete(held));
    this.#held.add(held);
    return held;
  }

  #check(): void {
    if (this.#disposed) throw new VifdError('ERR_STATE', 'This Xen was closed: open it again.');
  }

  /** The call maps all or none and does not say which one was bad: each is tried alone. */
  #refused(domid: number, refs: readonly number[], access: Access, error: number): VifdError {
    const bad: number[] = [];
    for (const ref of refs) {
      const one = this.#native.map(domid, Uint32Array.of(ref), access === 'write');
      if (typeof one !== 'number') one.unmap();
      else if (bad.push(ref) === NAMED_MAX) break;
    }
    const which = bad.length > 0 ? bad.join(', ') : `any of ${refs.length}`;
    return new VifdError(
      'ERR_XEN_GRANT',
      `Domain ${domid} does not let us map grant reference ${which} to ${access} (${errnoName(error)}): it is not ` +
        'granted, granted to another domain, or for reading only.',
      { errno: errnoName(error) },
    );
  }
}

class XenMapping implements Mapping {
  readonly #native: NativeMapping;
  readonly #pages: Uint8Array[];
  readonly #forget: () => void;
  #mapped = true;

  constructor(native: NativeMapping, pages: number, forget: () => void) {
    this.#native = native;
    this.#forget = forget;
    this.#pages = Array.from(
      { length: pages },
      (_, index) => new Uint8Array(native.buffer, index * PAGE_SIZE, PAGE_SIZE),
    );
  }

  get mapped(): boolean {
    return this.#mapped;
  }

  page(index: number): Uint8Array {
    if (!this.#mapped) throw new VifdError('ERR_STATE', 'These pages were unmapped: map them again.');
    const page = this.#pages[index];
    if (page === undefined) {
      throw new VifdError('ERR_ARGUMENT', `There is no page ${index}: ${this.#pages.length} are mapped.`);
    }
    return page;
  }

  unmap(): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    this.#forget();
    const error = this.#native.unmap();
    if (error < 0) {
      throw new VifdError(
        'ERR_XEN_GRANT',
        `Unmapping ${this.#pages.length} pages failed: ${errnoName(error)}.`,
        {
          errno: errnoName(error),
        },
      );
    }
  }

  [Symbol.dispose](): void {
    this.unmap();
  }
}
