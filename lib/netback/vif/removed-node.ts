import { VifdError } from '../../errors.js';
import type { StoreReader } from './known-keys.js';

/**
 * Tells whether a failed request means that the node is gone. xenstored responds EACCES, not ENOENT, for a node whose parents are gone up to
 * one that this domain may not read (errno_from_parents in xenstored). A domain may read its own folder, so EACCES for that folder means
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

/** Tells whether xenstored refused a request for want of rights. */
export function isDenied(error: unknown): boolean {
  return error instanceof VifdError && (error.errno === 'EACCES' || error.errno === 'EPERM');
}
