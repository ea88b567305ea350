import type { Store } from '../../xen/seam.js';
import type { Faults } from '../faults/present-faults.js';

export interface StoreConnectionParts {
  /** Has the fault `store` while the store is away. */
  readonly faults: Faults;
  readonly onLost: () => void;
  /** Called when the store is back and changes of the meantime are unknown. */
  readonly onReturned: () => void;
}

/** Follows the connection to the store until disposal. */
export function followStoreConnection(
  store: Store,
  { faults, onLost, onReturned }: StoreConnectionParts,
): Disposable {
  /** Whether a connection was lost since `onReturned`. */
  let missed = false;
  return store.onConnection((lost) => {
    if (lost !== undefined) {
      // A xenstored that was only silent still has its watches and will send every event.
      missed ||= lost.errno !== 'ETIMEDOUT';
      faults.begin('store', lost);
      onLost();
      return;
    }
    faults.end('store');
    if (!missed) return;
    missed = false;
    onReturned();
  });
}
