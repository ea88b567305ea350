import { VifdError } from '../errors.js';
import { namesIn } from '../journal-files.js';
import type { Journals } from '../netback/journal.js';
import { backendVifPath } from '../protocol/xenbus.js';
import type { Store } from '../xen/types.js';

export interface SweepParts {
  readonly store: Pick<Store, 'read'>;
  readonly domid: number;
  /** The journals' folder: its files say which taps an earlier life has made. */
  readonly directory: string;
  readonly journals: Pick<Journals, 'remove'>;
  /** @throws VifdError with errno EBUSY or EINVAL for what is not ours. */
  readonly removeTap: (name: string) => Promise<void>;
}

/**
 * Removes the taps and journals of vifs that went while no vifd ran: libxl then takes their nodes away, and nobody is
 * told of them any more.
 * @returns what was removed.
 */
export async function sweep({ store, domid, directory, journals, removeTap }: SweepParts): Promise<string[]> {
  const removed: string[] = [];
  for (const [vif, names] of journalsByVif(directory)) {
    const [guest, handle] = vif.slice('vif'.length).split('.').map(Number);
    if ((await store.read(`${backendVifPath(domid, guest, handle)}/frontend`)) !== undefined) continue;
    try {
      await removeTap(vif);
    } catch (error) {
      // Another process has it open, or it is no tap: neither is ours to remove.
      if (error instanceof VifdError && (error.errno === 'EBUSY' || error.errno === 'EINVAL')) continue;
      throw error;
    }
    for (const name of names) journals.remove(name);
    removed.push(vif);
  }
  return removed;
}

function journalsByVif(directory: string): Map<string, string[]> {
  const vifs = new Map<string, string[]>();
  for (const name of namesIn(directory)) {
    const vif = /^(vif\d+\.\d+)(\..*)?$/.exec(name)?.[1];
    if (vif !== undefined) vifs.set(vif, [...(vifs.get(vif) ?? []), name]);
  }
  return vifs;
}
