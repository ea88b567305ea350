import { errnoName, type NativeGrants, type NativeMapping } from '../../addon.js';
import { hostFault, VifdError } from '../../errors.js';
import {
  type Access,
  type BatchOptions,
  type GrantBatch,
  type Grants,
  type Mapping,
  type OwnArena,
  PAGE_SIZE,
  type StagedGrants,
} from '../seam.js';
import { NativeArena } from './arena.js';
import { NativeGrantBatch } from './batch.js';
import { requireCount, requireDomid } from './check.js';
import { isGuestFault } from './errno.js';
import { LateEnds } from './late-ends.js';
import { NativeStagedGrants } from './staged.js';

/** The most pages of one call: gntdev itself takes 65536 (linux/drivers/xen/gntdev.c, `limit`). */
const MAP_PAGES_MAX = 65_536;
/** How many bad references an error message names. */
const NAMED_MAX = 8;

/** Where an object reports that it has ended. */
interface Holder {
  /** The object has ended. */
  forget(): void;
  readonly late: LateEnds;
}

/** Grants over libxengnttab. Disposal unmaps all pages that are still mapped. */
export class XenGrants implements Grants, Disposable {
  readonly #native: NativeGrants;
  readonly #open = new Set<Disposable>();
  readonly #late: LateEnds;
  #disposed = false;

  constructor(native: NativeGrants, late = new LateEnds()) {
    this.#native = native;
    this.#late = late;
  }

  map(domid: number, refs: readonly number[], access: Access): Mapping {
    this.#check();
    requireDomid(domid);
    requireCount('pages to map', refs.length, MAP_PAGES_MAX);
    const mapped = this.#native.map(domid, Uint32Array.from(refs), access === 'write');
    if (typeof mapped === 'number') throw this.#refused(domid, refs, access, mapped);
    return this.#track((holder) => new XenMapping(mapped, refs.length, holder));
  }

  arena(bytes: number): OwnArena {
    this.#check();
    requireCount('bytes of an arena', bytes, 2 ** 32 - PAGE_SIZE);
    return new NativeArena(bytes);
  }

  staged(domid: number): StagedGrants {
    this.#check();
    requireDomid(domid);
    return this.#track((holder) => new NativeStagedGrants(this.#native, domid, holder));
  }

  batch(options: BatchOptions): GrantBatch {
    this.#check();
    requireDomid(options.domid);
    requireCount('operations of a batch', options.capacity, MAP_PAGES_MAX);
    return this.#track((holder) => new NativeGrantBatch(this.#native, options, holder));
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    let failed: unknown;
    for (const object of [...this.#open]) {
      try {
        object[Symbol.dispose]();
      } catch (error) {
        failed ??= error;
      }
    }
    if (failed !== undefined) throw failed;
  }

  #track<T extends Disposable>(make: (holder: Holder) => T): T {
    const object: T = make({ forget: () => this.#open.delete(object), late: this.#late });
    this.#open.add(object);
    return object;
  }

  #check(): void {
    if (this.#disposed) throw new VifdError('ERR_STATE', 'This Xen was closed: open it again.');
  }

  /**
   * Returns an error that names the bad references. The call maps all or none and does not report which are bad, so this maps each one
   * alone.
   */
  #refused(domid: number, refs: readonly number[], access: Access, error: number): VifdError {
    const what = `Mapping ${refs.length} page${refs.length === 1 ? '' : 's'} of domain ${domid}`;
    if (!isGuestFault('map', error)) return hostFault(what, errnoName(error));
    const bad: number[] = [];
    for (const ref of refs) {
      const one = this.#native.map(domid, Uint32Array.of(ref), access === 'write');
      if (typeof one !== 'number') this.#late.run(() => one.unmap());
      else if (!isGuestFault('map', one)) return hostFault(what, errnoName(one));
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
  readonly #holder: Holder;
  #mapped = true;

  constructor(native: NativeMapping, pages: number, holder: Holder) {
    this.#native = native;
    this.#holder = holder;
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
    this.#holder.forget();
    const error = this.#holder.late.run(() => this.#native.unmap());
    if (error < 0) {
      const pages = this.#pages.length;
      throw hostFault(`Unmapping ${pages} page${pages === 1 ? '' : 's'} of the guest`, errnoName(error));
    }
  }

  [Symbol.dispose](): void {
    this.unmap();
  }
}
