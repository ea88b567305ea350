import type { Netback } from '../netback/netback.js';
import type { Vif } from '../netback/public-vif.js';

/** The most reasons that a line names. */
const REASONS_MAX = 3;

export type Looked = Pick<Vif, 'id' | 'state' | 'reason'>;
export interface Served {
  readonly vifs: ReadonlyMap<string, Looked>;
  readonly faults: Netback['faults'];
}

/** Whether a guest has no network, for the reason in `reason`. */
export function isNotServed({ state, reason }: Looked): boolean {
  return state !== 'connected' && reason !== undefined;
}

/** Returns the ready line: how many vifs are served, how many are not, and why. */
export function servedText({ vifs, faults }: Served): string {
  const all = [...vifs.values()];
  // Faults that name a vif belong to vifs that could not be read.
  const unread = faults.filter(({ vif }) => vif !== undefined && !vifs.has(vif)).length;
  const stopped = all.filter(isNotServed).length;
  const missing = stopped + unread;
  const served = `serving ${countText(all.length - stopped)}${missing > 0 ? `, ${missing} not served` : ''}`;
  return withTroubles(served, { vifs, faults }, ': ');
}

/** Returns the service manager's STATUS: how many vifs are attached, and the present faults. */
export function statusText({ vifs, faults }: Served): string {
  const attached = [...vifs.values()].filter(({ state }) => state === 'connected').length;
  return withTroubles(`${countText(attached)} attached`, { vifs, faults }, '; ');
}

function countText(vifs: number): string {
  return `${vifs} ${vifs === 1 ? 'vif' : 'vifs'}`;
}

function withTroubles(text: string, { vifs, faults }: Served, separator: string): string {
  const reasons = [...vifs.values()].flatMap(({ id, reason }) =>
    reason === undefined ? [] : [reason.startsWith(id) ? reason : `${id}: ${reason}`],
  );
  const troubles = [...faults.map(({ message }) => message), ...reasons];
  if (troubles.length === 0) return text;
  const rest = troubles.length - REASONS_MAX;
  const named = troubles.slice(0, REASONS_MAX).join('; ');
  return `${text}${separator}${named}${rest > 0 ? `; and ${rest} more` : ''}`;
}
