import { addon, errnoName, type NativePages } from '../../addon.js';
import { hostFault } from '../../errors.js';
import type { OwnArena } from '../seam.js';

/** Memory of this process that never moves, so that native code may store its address. */
export class NativeArena implements OwnArena {
  readonly bytes: Uint8Array;
  readonly u32: Uint32Array;
  readonly #pages: NativePages;

  /** @throws VifdError ERR_HOST. */
  constructor(bytes: number) {
    const pages = addon().arena(bytes);
    if (typeof pages === 'number') throw hostFault(`Allocating ${bytes} bytes`, errnoName(pages));
    this.#pages = pages;
    this.bytes = new Uint8Array(pages.buffer);
    this.u32 = new Uint32Array(pages.buffer);
  }

  [Symbol.dispose](): void {
    // munmap(2) of a whole mapping does not fail.
    this.#pages.unmap();
  }
}
