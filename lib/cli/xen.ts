import { openXen } from '../xen/native/open.js';
import type { Xen } from '../xen/types.js';

/** Options of every verb that speaks to a hypervisor. */
export interface XenOptions {
  readonly store?: string;
  readonly libraries?: string;
}

export function openXenFor({ store, libraries }: XenOptions): Promise<Xen> {
  return openXen({
    ...(store === undefined ? {} : { storePath: store }),
    ...(libraries === undefined ? {} : { libraries }),
  });
}
