import { VifdError } from '../errors.js';
import type { StoreReader } from './known-keys.js';

/**
 * Whether a failed request means that the node is gone. Where all parents of a node that this domain could read are gone too, xenstored
 * responds EACCES and not ENOENT (errno_from_parents in xenstored). A domain may read its own folder, so EACCES for that one, too, means
 * that it was removed, with all below it. Dom0 may read everything and gets ENOENT.
 * @param path of a node below the folder of this domain.
 */
export async function isRemoved(store: StoreReader, path: string, error: unknown): Promise<boolean> {
  if (!isDenied(error)) return false;
  const [, local, domain, domid] = path.split('/');
  try {
    return (await store.read(`/${local}/${domain}/${domid}`)) === undefined;
  } catch (again) {
    if (isDenied(again)) return true;
    throw again;
  }
}

/** Whether xenstored refused a request for want of rights. */
export function isDenied(error: unknown): boolean {
  return error instanceof VifdError && (error.errno === 'EACCES' || error.errno === 'EPERM');
}
