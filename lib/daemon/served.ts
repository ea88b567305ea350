import type { Netback } from '../netback/netback.js';
import type { Vif } from '../netback/public-vif.js';

/** How many reasons a line names. */
const REASONS_MAX = 3;

type Looked = Pick<Vif, 'id' | 'state' | 'reason'>;
export interface Served {
  readonly vifs: ReadonlyMap<string, Looked>;
  readonly faults: Netback['faults'];
}

/** Whether a guest is without its network, for a reason that stands in `reason`. */
export function isNotServed({ state, reason }: Looked): boolean {
  return state !== 'connected' && reason !== undefined;
}

/** The ready line: how many vifs are served, how many are not, and why. */
export function servedText({ vifs, faults }: Served): string {
  const all = [...vifs.values()];
  // Faults that name a vif are of vifs that could not be read at all.
  const unread = faults.filter(({ vif }) => vif !== undefined && !vifs.has(vif)).length;
  const stopped = all.filter(isNotServed).length;
  const missing = stopped + unread;
  const served = `serving ${countText(all.length - stopped)}${missing > 0 ? `, ${missing} not served` : ''}`;
  return withTroubles(served, { vifs, faults }, ': ');
}

/** How many guests are attached, and what is wrong now: the service manager's STATUS. */
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
