import {
  type GrantBatch,
  type Grants,
  OP_ARENA,
  OP_REF,
  OP_SPAN,
  OP_STATUS,
  OPS_COUNT,
  OPS_ERRNO,
  OPS_HEADER_WORDS,
  type OwnArena,
  PAGE_SIZE,
} from '../../xen/seam.js';
import { batchFault } from '../faults/data-path-faults.js';

/** A private copy of the beginning of a page that a guest names in a control message. vifd reads the page once and checks only the copy. */
export class GuestPage implements Disposable {
  readonly #batch: GrantBatch;
  readonly #arena: OwnArena;

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

  /**
   * Copies the first `bytes` of the page. With 0 bytes the reference is not used.
   * @returns false if the guest does not grant the page. @throws VifdError ERR_HOST: try again later.
   */
  read(ref: number, bytes: number): boolean {
    if (bytes === 0) return true;
    this.#describe(ref, bytes);
    this.#batch.copyFromGuest();
    return this.#succeeded('Copying a page of a control request');
  }

  /** Copies the first `bytes` back into the page. @returns as `read`. @throws VifdError ERR_HOST: try again later. */
  write(ref: number, bytes: number): boolean {
    if (bytes === 0) return true;
    this.#describe(ref, bytes);
    this.#batch.copyToGuest();
    return this.#succeeded('Copying into a page of a control request');
  }

  [Symbol.dispose](): void {
    this.#batch[Symbol.dispose]();
    this.#arena[Symbol.dispose]();
  }

  #succeeded(what: string): boolean {
    const errno = this.#batch.ops[OPS_ERRNO];
    if (errno !== 0) throw batchFault(what, errno);
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
