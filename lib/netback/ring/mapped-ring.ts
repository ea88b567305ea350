import type { RedoLog } from '../../durable/redo.js';
import { VifdError } from '../../errors.js';
import type { RingShape } from '../../protocol/ring.js';
import type { UndoStack } from '../../undo.js';
import type { Xen } from '../../xen/seam.js';
import { BackRing } from './back-ring.js';

export interface MappedRingParts {
  readonly xen: Xen;
  readonly domid: number;
  /** The grant of its page. */
  readonly ref: number;
  readonly shape: RingShape;
  /** Outlives the process; undefined without a journal. */
  readonly log: RedoLog | undefined;
  /** As errors name it, e.g. `from-guest`. */
  readonly name: string;
}

/**
 * Maps a guest's ring and attaches to it where the previous process ended.
 * @param undo gets the step that unmaps it.
 * @throws VifdError ERR_XEN_GRANT, ERR_PROTOCOL; ERR_HOST, to be tried again.
 */
export function mapRing({ xen, domid, ref, shape, log, name }: MappedRingParts, undo: UndoStack): BackRing {
  const mapping = xen.grants.map(domid, [ref], 'write');
  undo.defer(() => mapping.unmap());
  const ring = new BackRing(mapping.page(0), shape, log, xen.step?.bind(xen, 'store to shared memory'));
  if (ring.attach()) return ring;
  throw new VifdError(
    'ERR_PROTOCOL',
    `cannot attach to the ${name} ring of domain ${domid}: req_prod - rsp_prod exceeds the ring`,
  );
}
