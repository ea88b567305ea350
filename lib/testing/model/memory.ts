import { VifdError } from '../../errors.js';
import { type Access, type OwnArena, PAGE_SIZE } from '../../xen/seam.js';
import { NumberPool, type Random } from './random.js';

/** Status of a grant operation, xen/grant_table.h. */
export const GNTST_OKAY = 0;
export const GNTST_GENERAL_ERROR = -1;
export const GNTST_BAD_DOMAIN = -2;
export const GNTST_BAD_GNTREF = -3;
export const GNTST_BAD_COPY_ARG = -10;
export const GNTST_EAGAIN = -12;

/** log2 of the references of a domain: Xen's default of 64 frames (max_grant_frames) of 512 entries. */
const REF_BITS = 15;
/** Xen's tools own the first references (GNTTAB_NR_RESERVED_ENTRIES). */
const REFS_RESERVED = 8;

/** Private memory of a process. */
export class ModelArena implements OwnArena {
  #bytes: Uint8Array;
  #u32: Uint32Array;

  constructor(bytes: number) {
    if (!Number.isInteger(bytes) || bytes < 1) {
      throw new VifdError('ERR_ARGUMENT', `an arena cannot have ${bytes} bytes: give a whole number above 0`);
    }
    this.#bytes = new Uint8Array(Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE);
    this.#u32 = new Uint32Array(this.#bytes.buffer);
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get u32(): Uint32Array {
    return this.#u32;
  }

  [Symbol.dispose](): void {
    this.#bytes = new Uint8Array(0);
    this.#u32 = new Uint32Array(0);
  }
}

/** Pages that other domains may map. All views of them show one buffer, which `move` replaces. */
export class Allocation {
  readonly pages: number;
  #bytes: Uint8Array<ArrayBuffer>;
  #u32: Uint32Array;
  #views: Uint8Array[] = [];

  constructor(pages: number) {
    this.pages = pages;
    this.#bytes = new Uint8Array(pages * PAGE_SIZE);
    this.#u32 = new Uint32Array(this.#bytes.buffer);
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get u32(): Uint32Array {
    return this.#u32;
  }

  page(index: number): Uint8Array {
    this.#views[index] ??= this.#bytes.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE);
    return this.#views[index];
  }

  /** Empties every view that was returned so far. The bytes are not copied: the new buffer takes them over. */
  move(): void {
    const { buffer } = this.#bytes;
    this.#bytes = new Uint8Array(structuredClone(buffer, { transfer: [buffer] }));
    this.#u32 = new Uint32Array(this.#bytes.buffer);
    this.#views = [];
  }
}

/** An entry of a domain's grant table. */
export interface Grant {
  readonly ref: number;
  readonly to: number;
  readonly access: Access;
  readonly allocation: Allocation;
  readonly page: number;
  /** How many mappings of it exist. */
  mapped: number;
  /** The granter is gone: no domain may begin to use it, and the last unmap frees it. */
  ended: boolean;
}

/** The grants of a domain. */
class GrantTable {
  readonly #pool: NumberPool;
  readonly #grants = new Map<number, Grant>();

  constructor(random: Random) {
    this.#pool = new NumberPool(random, REF_BITS, REFS_RESERVED);
  }

  get(ref: number): Grant | undefined {
    return this.#grants.get(ref);
  }

  add(allocation: Allocation, page: number, to: number, access: Access): Grant {
    const ref = this.#pool.take();
    if (ref === undefined) throw new VifdError('ERR_XEN_GRANT', 'the grant table is full: end some grants');
    const grant = { ref, to, access, allocation, page, mapped: 0, ended: false };
    this.#grants.set(ref, grant);
    return grant;
  }

  remove(grant: Grant): void {
    this.#grants.delete(grant.ref);
    this.#pool.give(grant.ref);
  }
}

/** The grant tables of all domains. */
export class GrantTables {
  readonly #random: Random;
  readonly #isThere: (domid: number) => boolean;
  readonly #tables = new Map<number, GrantTable>();

  /** @param isThere whether the domain exists and has not been released. */
  constructor(random: Random, isThere: (domid: number) => boolean) {
    this.#random = random;
    this.#isThere = isThere;
  }

  addDomain(domid: number): void {
    if (!this.#tables.has(domid)) this.#tables.set(domid, new GrantTable(this.#random));
  }

  /** @returns the grant, or the status with which Xen refuses to let `user` use it (xen/common/grant_table.c). */
  find(granter: number, ref: number, user: number, access: Access): Grant | number {
    const table = this.#tables.get(granter);
    if (table === undefined) return GNTST_BAD_DOMAIN;
    const grant = table.get(ref);
    if (grant === undefined || grant.ended || grant.to !== user) {
      if (!this.#isThere(granter)) return GNTST_BAD_DOMAIN;
      return ref >= 2 ** REF_BITS ? GNTST_BAD_GNTREF : GNTST_GENERAL_ERROR;
    }
    return access === 'write' && grant.access === 'read' ? GNTST_GENERAL_ERROR : grant;
  }

  add(granter: number, allocation: Allocation, page: number, to: number, access: Access): Grant {
    return this.#table(granter).add(allocation, page, to, access);
  }

  /** @returns false while the grant is mapped. */
  end(granter: number, grant: Grant): boolean {
    if (grant.mapped > 0) return false;
    this.#table(granter).remove(grant);
    return true;
  }

  /** Ends a grant without waiting: at once, or with its last mapping (Linux: gnttab_end_foreign_access). */
  abandon(granter: number, grant: Grant): void {
    grant.ended = true;
    this.end(granter, grant);
  }

  release(granter: number, grant: Grant): void {
    grant.mapped -= 1;
    if (grant.ended) this.end(granter, grant);
  }

  #table(domid: number): GrantTable {
    return this.#tables.get(domid) as GrantTable;
  }
}
