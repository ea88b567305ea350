import type { RedoLog } from '../../durable/redo.js';
import { VifdError } from '../../errors.js';
import type { RingShape } from '../../protocol/ring.js';
import type { UndoStack } from '../../undo.js';
import type { Xen } from '../../xen/seam.js';
import { BackRing } from './back-ring.js';

export interface MappedRingParts {
  readonly xen: Xen;
  readonly domid: number;
  /** The grant reference of the ring's page. */
  readonly ref: number;
  readonly shape: RingShape;
  /** A log that outlives the process; undefined without a journal. */
  readonly log: RedoLog | undefined;
  /** The name of the ring in errors, e.g. `from-guest`. */
  readonly name: string;
}

/**
 * Maps a guest's ring and attaches to it where the previous process ended.
 * @param undo gets the step that unmaps the ring.
 * @throws VifdError ERR_XEN_GRANT, ERR_PROTOCOL; ERR_HOST: try again later.
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
