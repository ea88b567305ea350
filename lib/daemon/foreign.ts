import { VifdError } from '../errors.js';
import type { StoreView } from '../xen/seam.js';

/**
 * Returns the value of another domain's node; undefined if the node is missing or this domain may not read it (EACCES). A driver
 * domain may not read a guest's name; and xenstored responds EACCES for a node that was removed below one that this domain may not read.
 */
export async function readForeign(store: Pick<StoreView, 'read'>, path: string): Promise<string | undefined> {
  try {
    return await store.read(path);
  } catch (error) {
    if (error instanceof VifdError && error.errno === 'EACCES') return undefined;
    throw error;
  }
}
