import type { NativeBatch, NativeGrants } from '../../addon.js';
import { VifdError } from '../../errors.js';
import { type BatchOptions, type GrantBatch, OP_WORDS, OPS_HEADER_WORDS } from '../types.js';
import { NativeStagedGrants } from './staged.js';

/**
 * The methods are the addon's own functions, so that a call goes straight to native code. The addon pins `ops` and
 * the arena for as long as one of these functions can be called.
 */
export class NativeGrantBatch implements GrantBatch {
  readonly capacity: number;
  readonly ops: Uint32Array;
  copyFromGuest: () => void;
  copyToGuest: () => void;
  mapFromGuest: () => void;
  mapToGuest: () => void;
  unmap: () => void;
  /** For the tap, which writes out of what is mapped. */
  readonly handle: unknown;
  readonly #forget: () => void;

  constructor(native: NativeGrants, { domid, capacity, arena, staged }: BatchOptions, forget: () => void) {
    this.capacity = capacity;
    this.ops = new Uint32Array(OPS_HEADER_WORDS + capacity * OP_WORDS);
    const pages = staged instanceof NativeStagedGrants ? staged.handle : undefined;
    const batch: NativeBatch = native.batch(domid, this.ops, arena.bytes, pages);
    this.copyFromGuest = batch.copyFromGuest;
    this.copyToGuest = batch.copyToGuest;
    this.mapFromGuest = batch.mapFromGuest;
    this.mapToGuest = batch.mapToGuest;
    this.unmap = batch.unmap;
    this.handle = batch.handle;
    this.#forget = forget;
  }

  [Symbol.dispose](): void {
    if (this.copyFromGuest === disposed) return;
    this.unmap();
    this.#forget();
    this.copyFromGuest = disposed;
    this.copyToGuest = disposed;
    this.mapFromGuest = disposed;
    this.mapToGuest = disposed;
    this.unmap = () => {};
  }
}

function disposed(): never {
  throw new VifdError('ERR_STATE', 'This batch was disposed of: make another.');
}
