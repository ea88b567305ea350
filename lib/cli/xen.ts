import { openXen } from '../xen/native/open.js';
import { openStore } from '../xen/store/client.js';
import type { Xen } from '../xen/types.js';

/** Options of every verb that speaks to a hypervisor. */
export interface XenOptions {
  readonly store?: string;
  readonly libraries?: string;
}

export async function openXenFor(options: XenOptions): Promise<Xen> {
  const store = await openStore(options.store === undefined ? {} : { path: options.store });
  return openXen({ store, ...(options.libraries === undefined ? {} : { libraries: options.libraries }) });
}
