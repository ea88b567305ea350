import { VifdError } from '../errors.js';
import type { StoreView } from '../xen/types.js';

/**
 * Returns what stands in a node of another domain; undefined where it is missing, and where this domain may not read it. In a driver
 * domain that is a guest's name; and what was removed below a node that this domain may not read: xenstored then answers EACCES.
 */
export async function readForeign(store: Pick<StoreView, 'read'>, path: string): Promise<string | undefined> {
  try {
    return await store.read(path);
  } catch (error) {
    if (error instanceof VifdError && error.errno === 'EACCES') return undefined;
    throw error;
  }
}
