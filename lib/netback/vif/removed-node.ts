import { VifdError } from '../../errors.js';
import type { StoreReader } from './known-keys.js';

/**
 * Whether a failed request means that the node is gone. If a node's parents are gone up to one that this domain may not read, xenstored
 * responds EACCES and not ENOENT (errno_from_parents in xenstored). A domain may read its own folder, so EACCES for that folder means
 * that it was removed, with all nodes below it. Dom0 may read everything and gets ENOENT.
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

/** Whether xenstored refused a request because this domain lacks the rights. */
export function isDenied(error: unknown): boolean {
  return error instanceof VifdError && (error.errno === 'EACCES' || error.errno === 'EPERM');
}
