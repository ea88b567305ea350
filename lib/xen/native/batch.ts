import { errnoName, type NativeBatch, type NativeGrants, requirePinnable } from '../../addon.js';
import { hostFault, VifdError } from '../../errors.js';
import { type BatchOptions, type GrantBatch, OP_WORDS, OPS_HEADER_WORDS } from '../seam.js';
import type { LateEnds } from './late-ends.js';
import { NativeStagedGrants } from './staged.js';

/**
 * The methods are the addon's own functions, so that a call goes straight to native code. The addon pins `ops` and
 * the arena until the batch is disposed of. A stored reference to one of the functions throws ERR_STATE from then on.
 */
export class NativeGrantBatch implements GrantBatch {
  readonly capacity: number;
  readonly ops: Uint32Array;
  copyFromGuest: () => void;
  copyToGuest: () => void;
  mapFromGuest: () => void;
  mapToGuest: () => void;
  unmap: () => void;
  /** The native batch, for a tap that writes frames straight out of the mapped pages. */
  readonly handle: unknown;
  readonly #native: NativeBatch;
  readonly #holder: { forget(): void; readonly late: LateEnds };

  constructor(
    native: NativeGrants,
    { domid, capacity, arena, staged }: BatchOptions,
    holder: { forget(): void; readonly late: LateEnds },
  ) {
    requirePinnable('An arena', arena.bytes);
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
    this.#native = batch;
    this.#holder = holder;
  }

  [Symbol.dispose](): void {
    if (this.copyFromGuest === disposed) return;
    this.#holder.forget();
    this.copyFromGuest = disposed;
    this.copyToGuest = disposed;
    this.mapFromGuest = disposed;
    this.mapToGuest = disposed;
    this.unmap = () => {};
    const error = this.#holder.late.run(() => this.#native.end());
    if (error < 0) throw hostFault('Unmapping pages of the guest', errnoName(error));
  }
}

function disposed(): never {
  throw new VifdError('ERR_STATE', 'This batch was disposed of: make another.');
}
