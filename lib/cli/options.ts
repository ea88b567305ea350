import { Option } from 'commander';
import { openXen } from '../xen/native/open.js';
import { openStore } from '../xen/store/client.js';
import type { Xen } from '../xen/types.js';

/** The default of `vifd run`; in the unit's runtime directory. */
export const JOURNAL_DIRECTORY = '/run/vifd';

/** Options of every verb that speaks to a hypervisor. */
export interface XenOptions {
  readonly store?: string;
  readonly libraries?: string;
}

export function storeOption(): Option {
  return new Option('--store <socket>', 'xenstored socket').env('XENSTORED_PATH');
}

export function librariesOption(): Option {
  return new Option('--libraries <dir>', 'where libxengnttab and libxenevtchn are').env('VIFD_XEN_LIBRARIES');
}

export async function openXenFor(options: XenOptions): Promise<Xen> {
  const store = await openStore(options.store === undefined ? {} : { path: options.store });
  return openXen({ store, ...(options.libraries === undefined ? {} : { libraries: options.libraries }) });
}
