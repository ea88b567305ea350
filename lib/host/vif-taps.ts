import type { Interface, Interfaces } from './interfaces.js';

/** The kind of a tap in `ip -d link`. */
const TAP_KIND = 'tun';

/**
 * Returns the alias (`ip link`, IFLA_IFALIAS) of a tap that vifd creates for a vif. The alias survives a rename of the interface and needs
 * no store.
 */
export function aliasFor(vif: string): string {
  return `vifd ${vif}`;
}

/**
 * Returns the tap of a vif in a network namespace. An earlier process may have created it and others may have renamed it. It is the tap
 * whose alias names the vif; else the tap with the name that the toolstack gives the vif (xl-network-configuration(5),
 * `vifname`); else the tap with the vif's own name. A tap whose alias names another vif does not count; an alias that an administrator set
 * is ignored.
 */
export function findTap(network: Interfaces, vif: string, vifname?: string): Interface | undefined {
  const marked = findMarkedTap(network, vif);
  if (marked !== undefined) return marked;
  const names = [vifname ?? '', vif].filter(canBeName);
  const found = names.map((name) => network.find(name));
  return found.find((link) => link?.kind === TAP_KIND && !link.alias.startsWith(aliasFor('vif')));
}

/** Returns the tap whose alias names the vif. */
export function findMarkedTap(network: Interfaces, vif: string): Interface | undefined {
  const isMarked = ({ kind, alias }: Interface): boolean => kind === TAP_KIND && alias === aliasFor(vif);
  const own = network.find(vif);
  // Usually the tap has the vif's name, and the others need not be read.
  return own !== undefined && isMarked(own) ? own : network.list().find(isMarked);
}

/** Whether the kernel accepts the name (net/core/dev.c, dev_valid_name). */
function canBeName(name: string): boolean {
  return Buffer.byteLength(name) <= 15 && /^[^\s/:]+$/.test(name);
}
