import { FRAME_SLOTS_SENT_MAX } from '../../protocol/netif.js';
import {
  type GrantBatch,
  type Grants,
  OP_STATUS,
  OP_WORDS,
  OPS_COUNT,
  OPS_HEADER_WORDS,
} from '../../xen/seam.js';

/**
 * Copies whole frames of a mapped batch into the arena, if their headers are longer than the bytes that were copied before.
 * Such frames are rare, so each has a call of its own.
 */
export class WholeFrames {
  /** Its block has OPS_ERRNO and OPS_FAILED of the last `copy`. */
  readonly batch: GrantBatch;

  constructor(grants: Grants, options: Omit<Parameters<Grants['batch']>[0], 'capacity'>) {
    this.batch = grants.batch({ ...options, capacity: FRAME_SLOTS_SENT_MAX });
  }

  /** Copies all bytes of the `count` operations from `first` on. */
  copy(ops: Uint32Array, first: number, count: number): void {
    const own = this.batch.ops;
    const from = OPS_HEADER_WORDS + first * OP_WORDS;
    own[OPS_COUNT] = count;
    for (let word = 0; word < count * OP_WORDS; word++) {
      // The addon writes a status only for an operation that failed.
      if (word % OP_WORDS !== OP_STATUS) own[OPS_HEADER_WORDS + word] = ops[from + word];
    }
    this.batch.copyFromGuest();
  }
}
