import { VifdError } from '../errors.js';
import type { HostFaultListener } from './faults/host-faults.js';

/** What has to be done to let go of things, in the order in which they were taken. */
export type Undo = Array<() => void>;

/**
 * Runs all of them, the last first, and empties the list. One that throws keeps none of the others from running.
 * @param onFault hears of what the host cannot let go of now (ERR_HOST); what is held is tried again.
 * @throws what else was thrown first.
 */
export function undoAll(undo: Undo, onFault: HostFaultListener): void {
  let first: { readonly thrown: unknown } | undefined;
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) {
    try {
      step();
    } catch (thrown) {
      if (thrown instanceof VifdError && thrown.code === 'ERR_HOST') onFault(thrown);
      else first ??= { thrown };
    }
  }
  if (first !== undefined) throw first.thrown;
}
