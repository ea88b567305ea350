import type { VifdError } from '../errors.js';
import { printable } from '../text.js';
import { openXen } from '../xen/native/open.js';
import type { Store, Xen } from '../xen/seam.js';

/** Options of every verb that uses a hypervisor. */
export interface XenOptions {
  readonly store?: string;
  readonly libraries?: string;
}

export function openXenFor(
  { store, libraries }: XenOptions,
  onStoreSilent?: (silent: VifdError) => void,
): Promise<Xen> {
  return openXen({
    ...(onStoreSilent === undefined ? {} : { onStoreSilent }),
    ...(store === undefined ? {} : { storePath: store }),
    ...(libraries === undefined ? {} : { libraries }),
  });
}

/** Prints, for a verb that waits for a lost xenstored, why it waits. `vifd run` has its log for that. */
export function saysWhenLost(store: Store): Disposable {
  return store.onConnection((lost) => {
    if (lost !== undefined) process.stderr.write(`vifd: ${printable(lost.message)}\n`);
  });
}
