import type { Journals } from '../durable/journal.js';
import { VifdError } from '../errors.js';
import { namesIn } from '../host/journal-files.js';
import { backendVifPath } from '../protocol/xenbus.js';
import type { Store } from '../xen/seam.js';

export interface SweepParts {
  readonly store: Pick<Store, 'read'>;
  readonly domid: number;
  /** The journals' folder: its files say which taps an earlier life has made. */
  readonly directory: string;
  readonly journals: Pick<Journals, 'remove'>;
  /** @throws VifdError with errno EBUSY or EINVAL for what is not ours. */
  readonly removeTap: (name: string) => Promise<void>;
  /** See Xen. */
  readonly domainExists?: (domid: number) => boolean | undefined;
  /** A vif whose tap and journals stay, since xenstore has lost its node. */
  readonly onKept: (error: VifdError) => void;
}

/**
 * Removes the taps and journals of vifs that went while no vifd ran: libxl then takes their nodes away, and nobody is
 * told of them any more.
 * @returns what was removed.
 */
export async function sweep(parts: SweepParts): Promise<string[]> {
  const { store, domid, directory, journals, removeTap } = parts;
  const removed: string[] = [];
  for (const [vif, names] of journalsByVif(directory)) {
    const [guest, handle] = vif.slice('vif'.length).split('.').map(Number);
    if ((await store.read(`${backendVifPath(domid, guest, handle)}/frontend`)) !== undefined) continue;
    if (await isLost(parts, guest)) {
      parts.onKept(nodeGone(vif));
      continue;
    }
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

/** A domain that runs has a node of its own, unless xenstored came back empty: no toolstack has removed the vif then. */
async function isLost({ store, domainExists }: SweepParts, guest: number): Promise<boolean> {
  return domainExists?.(guest) === true && (await store.read(`/local/domain/${guest}`)) === undefined;
}

function nodeGone(vif: string): VifdError {
  const message =
    `${vif}: its domain runs, and xenstored has lost its node: its tap and journal stay, and it is served again when the ` +
    'node is written again.';
  return new VifdError('ERR_NODE_GONE', message, { vif });
}

function journalsByVif(directory: string): Map<string, string[]> {
  const vifs = new Map<string, string[]>();
  for (const name of namesIn(directory)) {
    const vif = /^(vif\d+\.\d+)(\..*)?$/.exec(name)?.[1];
    if (vif !== undefined) vifs.set(vif, [...(vifs.get(vif) ?? []), name]);
  }
  return vifs;
}
