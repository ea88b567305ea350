import { addon } from '../../addon.js';
import type { Arena } from '../types.js';

/** Memory of this process whose address native code may keep: it never moves. */
export class NativeArena implements Arena {
  readonly bytes: Uint8Array;
  readonly u32: Uint32Array;

  constructor(bytes: number) {
    const buffer = addon().arena(bytes);
    this.bytes = new Uint8Array(buffer);
    this.u32 = new Uint32Array(buffer);
  }
}
