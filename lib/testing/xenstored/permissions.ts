import type { Permission } from '../../xen/seam.js';

/** enum xs_perm_type: what a connection may do with a node. */
export const MAY_READ = 1;
export const MAY_WRITE = 2;
export const MAY_OWN = 4;

const GRANTS: Record<Permission['access'], number> = {
  none: 0,
  read: MAY_READ,
  write: MAY_WRITE,
  both: MAY_READ | MAY_WRITE,
};

/** Whether the domain is dom0: it reads, writes and owns everything, and no quota applies to it. */
export function isPrivileged(domid: number): boolean {
  return domid === 0;
}

/**
 * Returns the rights of a domain, as perm_for_conn in xenstored_core.c. The owner, named by the first entry, may do everything; a listed
 * domain has the rights of its entry; all others have the rights of the first entry.
 */
export function accessFor(domid: number, permissions: readonly Permission[]): number {
  const [first, ...others] = permissions;
  if (isPrivileged(domid) || first?.domid === domid) return MAY_READ | MAY_WRITE | MAY_OWN;
  const listed = others.find((permission) => permission.domid === domid) ?? first;
  return listed === undefined ? 0 : GRANTS[listed.access];
}

export function ownerOf(permissions: readonly Permission[]): number {
  return permissions[0]?.domid ?? 0;
}
