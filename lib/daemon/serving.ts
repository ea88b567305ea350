import type { VifdError } from '../errors.js';
import type { DescriptorKeeper } from '../host/descriptor-keeper.js';
import { journalFiles } from '../host/journal-files.js';
import { interfaces } from '../host/netlink-interfaces.js';
import type { ServeOptions } from '../netback/vif/served-vifs.js';
import type { Xen } from '../xen/seam.js';
import { openXenFor } from './open-xen.js';
import type { RunOptions } from './option-table.js';
import { type Ownership, ownershipIn } from './ownership.js';
import type { EventLog } from './run-log.js';
import { Taps } from './taps.js';

type ErrorLog = Pick<EventLog, 'error' | 'mended'>;

/** What a process needs that serves guests: `vifd run`, or one of its workers. */
export interface Serving {
  readonly taps: Taps;
  readonly ownership: Ownership;
  readonly options: ServeOptions;
}

export interface ServingParts {
  readonly xen: Xen;
  /** Stores the descriptors of taps for the next process. */
  readonly keeper: DescriptorKeeper;
  readonly log: ErrorLog;
}

export function servingWith(run: RunOptions, { xen, keeper, log }: ServingParts): Serving {
  const { payload, journal, journalVersion, bridge, queues } = run;
  const network = interfaces();
  const taps = new Taps({
    network,
    keeper,
    multiQueue: queues > 1,
    onError: (error) => log.error(error, undefined),
    onMended: (error) => log.mended(error, undefined),
  });
  const ownership = ownershipIn(xen, network, (how) => taps.open(how));
  const options: ServeOptions = {
    xen,
    port: (vif) => ownership.port(vif, bridge),
    removeLeftPort: (vif) => taps.removeLeft(vif),
    accept: (vif, serving) => ownership.accept(vif, serving),
    payload,
    queues,
    journalVersion,
    journals: journal !== false && journalFiles(journal),
  };
  return { taps, ownership, options };
}

/**
 * Opens Xen. While xenstored does not respond, the log reports it.
 * @param onSilent is called then, too.
 */
export async function openXenLogged(
  run: RunOptions,
  log: ErrorLog,
  onSilent?: (error: VifdError) => void,
): Promise<Xen> {
  let silent: VifdError | undefined;
  const xen = await openXenFor(run, (error) => {
    silent = error;
    log.error(error, undefined);
    onSilent?.(error);
  });
  if (silent !== undefined) log.mended(silent, undefined);
  return xen;
}
