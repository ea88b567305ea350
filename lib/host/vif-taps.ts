import type { Interface, Interfaces } from './interfaces.js';

/** As `ip -d link` shows taps. */
const TAP_KIND = 'tun';

/**
 * The alias (`ip link`, IFLA_IFALIAS) of a tap that vifd has made for a vif: it stays where the interface is renamed, and needs
 * no store.
 */
export function aliasFor(vif: string): string {
  return `vifd ${vif}`;
}

/**
 * The tap of a vif in a network namespace, which an earlier process may have made and others may have renamed: the one
 * whose alias names the vif; else the one that has the name that the toolstack gives the vif (xl-network-configuration(5),
 * `vifname`); else the one that has the vif's own name. One whose alias names another vif is not it; an administrator's alias
 * says nothing of whose it is.
 */
export function findTap(network: Interfaces, vif: string, vifname?: string): Interface | undefined {
  const marked = findMarkedTap(network, vif);
  if (marked !== undefined) return marked;
  const names = [vifname ?? '', vif].filter(canBeName);
  const found = names.map((name) => network.find(name));
  return found.find((link) => link?.kind === TAP_KIND && !link.alias.startsWith(aliasFor('vif')));
}

/** The one whose alias names the vif. */
export function findMarkedTap(network: Interfaces, vif: string): Interface | undefined {
  const isMarked = ({ kind, alias }: Interface): boolean => kind === TAP_KIND && alias === aliasFor(vif);
  const own = network.find(vif);
  // The usual one: nothing else needs to be looked at.
  return own !== undefined && isMarked(own) ? own : network.list().find(isMarked);
}

/** net/core/dev.c, dev_valid_name: what the kernel would refuse to look for. */
function canBeName(name: string): boolean {
  return Buffer.byteLength(name) <= 15 && /^[^\s/:]+$/.test(name);
}
