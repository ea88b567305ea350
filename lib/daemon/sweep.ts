import type { Journals } from '../durable/journal.js';
import { VifdError } from '../errors.js';
import { journalFiles, namesIn } from '../host/journal-files.js';
import { backendVifPath } from '../protocol/xenbus.js';
import { Insist } from '../runtime/insist.js';
import type { Store, Xen } from '../xen/seam.js';
import type { EventLog } from './run-log.js';
import type { Taps } from './taps.js';

export interface SweepParts {
  readonly store: Pick<Store, 'read'>;
  readonly domid: number;
  /** The journals' folder; its files name the vifs for which earlier processes made taps. */
  readonly directory: string;
  readonly journals: Pick<Journals, 'remove'>;
  /** Removes a tap. @throws VifdError with errno EBUSY or EINVAL for a device that vifd must not remove. */
  readonly removeTap: (name: string) => Promise<void>;
  /** See Xen. */
  readonly domainExists?: (domid: number) => boolean | undefined;
  /** Called for a vif whose tap and journals stay, because xenstore has lost its node. */
  readonly onLeft: (error: VifdError) => void;
}

export interface SweepingParts {
  readonly xen: Pick<Xen, 'clock' | 'domainExists' | 'domid' | 'store'>;
  readonly directory: string;
  readonly taps: Pick<Taps, 'remove'>;
  readonly log: Pick<EventLog, 'error' | 'mended' | 'swept'>;
}

/** Returns the sweep of a process, which reports and repeats itself: leftovers of other vifs harm no guest that is served. */
export function sweeping({ xen, directory, taps, log }: SweepingParts): Insist {
  const { store, domid, clock } = xen;
  const parts: SweepParts = {
    ...{ store, domid, directory, journals: journalFiles(directory) },
    removeTap: (name) => taps.remove(name),
    domainExists: (guest) => xen.domainExists?.(guest),
    onLeft: (error) => log.error(error, undefined),
  };
  return new Insist(clock, log, async () => {
    for (const vif of await sweep(parts)) log.swept(vif);
  });
}

/**
 * Removes the taps and journals of vifs that were removed while no vifd ran: libxl then removed their nodes, so no event will report them.
 * @returns the names of the vifs.
 */
export async function sweep(parts: SweepParts): Promise<string[]> {
  const { store, domid, directory, journals, removeTap } = parts;
  const removed: string[] = [];
  for (const [vif, names] of journalsByVif(directory)) {
    const [guest, handle] = vif.slice('vif'.length).split('.').map(Number);
    if ((await store.read(`${backendVifPath(domid, guest, handle)}/frontend`)) !== undefined) continue;
    if (await isLost(parts, guest)) {
      parts.onLeft(nodeGone(vif));
      continue;
    }
    try {
      await removeTap(vif);
    } catch (error) {
      // Another process has the tap open, or it is no tap: vifd must not remove it.
      if (error instanceof VifdError && (error.errno === 'EBUSY' || error.errno === 'EINVAL')) continue;
      throw error;
    }
    for (const name of names) journals.remove(name);
    removed.push(vif);
  }
  return removed;
}

/** Whether xenstored has lost the node of a domain that runs, because it restarted empty. No toolstack has removed the vif then. */
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
