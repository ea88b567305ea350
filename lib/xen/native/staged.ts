import type { NativeGrants, NativeStaged } from '../../addon.js';
import { VifdError } from '../../errors.js';
import type { Access, StagedGrants } from '../types.js';

export class NativeStagedGrants implements StagedGrants {
  readonly #native: NativeStaged;
  readonly #forget: () => void;
  #disposed = false;

  constructor(native: NativeGrants, domid: number, forget: () => void) {
    this.#native = native.staged(domid);
    this.#forget = forget;
  }

  /** For batches. */
  get handle(): unknown {
    return this.#native.handle;
  }

  get size(): number {
    return this.#native.size();
  }

  add(refs: readonly number[], access: Access): boolean {
    if (this.#disposed)
      throw new VifdError('ERR_STATE', 'These staged grants were disposed of: make others.');
    return refs.length === 0 || this.#native.add(Uint32Array.from(refs), access === 'write') === 0;
  }

  remove(refs: readonly number[]): void {
    if (refs.length > 0) this.#native.remove(Uint32Array.from(refs));
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#native.clear();
    this.#forget();
  }
}
