import type { Journals } from '../durable/journal.js';
import { journalFiles } from '../host/journal-files.js';
import type { FaultLog } from '../runtime/insist.js';
import { PatientLock } from '../runtime/patient-lock.js';
import type { Xen } from '../xen/seam.js';

/** The runtime directory of `vifd run` and of the systemd unit. */
const DIRECTORY_DEFAULT = '/run/vifd';

/** What makes a kill of a netback's process harmless. */
export interface Safekeeping {
  readonly journals: Journals | false;
  /** Of the runtime directory; undefined for a netback without one. */
  readonly lock: PatientLock | undefined;
}

/** The options of Netback that concern it; see `NetbackOptions`. */
export interface SafekeepingOptions {
  readonly xen: Xen;
  readonly journals?: Journals | false;
  readonly runtimeDirectory?: string;
}

/**
 * Finds a netback's journals, and takes the lock of its runtime directory if it has one.
 * @param log gets the faults of the directory, which stop no guest.
 * @throws VifdError ERR_RUNNING if another process serves from the directory; ERR_ARGUMENT if other users can write to it.
 */
export function safekeepingFor(options: SafekeepingOptions, log: FaultLog): Safekeeping {
  const { xen, runtimeDirectory } = options;
  const given = options.journals ?? (runtimeDirectory === undefined ? xen.journals : undefined);
  if (given !== undefined && runtimeDirectory === undefined) return { journals: given, lock: undefined };
  const directory = runtimeDirectory ?? DIRECTORY_DEFAULT;
  const lock = new PatientLock(directory, xen.clock, log);
  return { journals: given ?? journalFiles(directory), lock };
}
