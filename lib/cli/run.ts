import { journalFiles } from '../journal-files.js';
import type { Journals } from '../netback/journal.js';
import { Netback } from '../netback/netback.js';
import type { VifInfo } from '../netback/types.js';
import { tap } from '../ports/tap.js';
import type { Port } from '../ports/types.js';
import { ServiceManager } from '../service-manager.js';
import type { Xen } from '../xen/types.js';
import { isKernels } from './kernel-driver.js';
import { withManager } from './manager-log.js';
import { type EventLog, eventLog } from './run-log.js';
import type { RunOptions } from './run-options.js';
import { sweep } from './sweep.js';
import { openXenFor } from './xen.js';

/** The address that Linux's netback gives its end: lowest priority for a bridge that picks its own from its ports. */
const TAP_MAC = 'fe:ff:ff:ff:ff:ff';

/** `vifd run`. Resolves after an orderly stop. */
export async function run(options: RunOptions): Promise<void> {
  const stop = stopSignal();
  const log = managedLog(options.json === true);
  await using xen = await openXenFor(options);
  const listeners = { attached: log.attached, detached: log.detached, error: log.error };
  const port = (vif: VifInfo) => vifTap(vif, options.bridge);
  // A simulated Xen has no drivers in this kernel.
  const accept = (vif: VifInfo) => xen.shares !== undefined || !isKernels(vif);
  const { payload, journal } = options;
  const journals = journal === false ? undefined : journalFiles(journal);
  await using netback = await Netback.open(
    { xen, port, accept, payload, ...(journals && { journals }) },
    listeners,
  );
  // Those who are still there come first.
  if (journal !== false && journals !== undefined) await sweepAfter(xen, journal, journals, log);
  log.ready(netback);
  await stop;
  log.stopping();
}

function managedLog(json: boolean): EventLog {
  const log = eventLog(json);
  const manager = ServiceManager.find((error) => log.error(error, undefined));
  return manager === undefined ? log : withManager(log, manager);
}

async function sweepAfter(xen: Xen, directory: string, journals: Journals, log: EventLog): Promise<void> {
  const { store, domid } = xen;
  for (const vif of await sweep({ store, domid, directory, journals })) log.swept(vif);
}

function vifTap(vif: VifInfo, bridge: string | undefined): Promise<Port> | Port {
  return tap({
    name: vif.id,
    persist: true,
    up: true,
    mac: TAP_MAC,
    ...(bridge === undefined ? {} : { bridge }),
  });
}

/** Resolves at the first SIGTERM or SIGINT; the second ends the process at once, which guests survive too. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.once(signal, () => {
        process.once(signal, () => process.exit(1));
        resolve();
      });
    }
  });
}
