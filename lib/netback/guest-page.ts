import {
  type GrantBatch,
  type Grants,
  OP_ARENA,
  OP_REF,
  OP_SPAN,
  OP_STATUS,
  OPS_COUNT,
  OPS_HEADER_WORDS,
  PAGE_SIZE,
} from '../xen/types.js';

/** A copy of the beginning of a page that a guest names in a control message: read once, and judged only here. */
export class GuestPage implements Disposable {
  readonly #batch: GrantBatch;
  readonly #arena: { readonly bytes: Uint8Array; readonly u32: Uint32Array };

  constructor(grants: Grants, domid: number) {
    this.#arena = grants.arena(PAGE_SIZE);
    this.#batch = grants.batch({ domid, capacity: 1, arena: this.#arena });
  }

  get bytes(): Uint8Array {
    return this.#arena.bytes;
  }

  get words(): Uint32Array {
    return this.#arena.u32;
  }

  /** @returns whether the first `bytes` of the page are here. No bytes are no page: the reference is not looked at. */
  read(ref: number, bytes: number): boolean {
    if (bytes === 0) return true;
    this.#describe(ref, bytes);
    this.#batch.copyFromGuest();
    return this.#succeeded;
  }

  /** Puts the first `bytes` back into the page. */
  write(ref: number, bytes: number): boolean {
    if (bytes === 0) return true;
    this.#describe(ref, bytes);
    this.#batch.copyToGuest();
    return this.#succeeded;
  }

  [Symbol.dispose](): void {
    this.#batch[Symbol.dispose]();
  }

  get #succeeded(): boolean {
    return this.#batch.ops[OPS_HEADER_WORDS + OP_STATUS] === 0;
  }

  #describe(ref: number, bytes: number): void {
    const { ops } = this.#batch;
    ops[OPS_COUNT] = 1;
    ops[OPS_HEADER_WORDS + OP_REF] = ref;
    ops[OPS_HEADER_WORDS + OP_SPAN] = bytes << 16;
    ops[OPS_HEADER_WORDS + OP_ARENA] = 0;
  }
}
