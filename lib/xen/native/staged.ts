import { errnoName, type NativeGrants, type NativeStaged } from '../../addon.js';
import { hostFault, VifdError } from '../../errors.js';
import type { Access, StagedGrants } from '../seam.js';
import { isGuestFault } from './errno.js';
import type { LateEnds } from './late-ends.js';

export class NativeStagedGrants implements StagedGrants {
  readonly #native: NativeStaged;
  readonly #holder: { forget(): void; readonly late: LateEnds };
  #disposed = false;

  constructor(native: NativeGrants, domid: number, holder: { forget(): void; readonly late: LateEnds }) {
    this.#native = native.staged(domid);
    this.#holder = holder;
  }

  /** The native object, for batches. */
  get handle(): unknown {
    return this.#native.handle;
  }

  get size(): number {
    return this.#native.size();
  }

  add(refs: readonly number[], access: Access): boolean {
    this.#check();
    if (refs.length === 0) return true;
    const error = this.#native.add(Uint32Array.from(refs), access === 'write');
    if (error < 0 && !isGuestFault('map', error))
      throw hostFault('Mapping grants to stay mapped', errnoName(error));
    return error === 0;
  }

  remove(refs: readonly number[]): void {
    this.#check();
    if (refs.length === 0) return;
    const error = this.#native.remove(Uint32Array.from(refs));
    if (error < 0) throw hostFault('Unmapping grants that were to stay mapped', errnoName(error));
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#holder.forget();
    const error = this.#holder.late.run(() => this.#native.clear());
    if (error < 0) throw hostFault('Unmapping grants that were to stay mapped', errnoName(error));
  }

  #check(): void {
    if (this.#disposed)
      throw new VifdError('ERR_STATE', 'These staged grants were disposed of: make others.');
  }
}
