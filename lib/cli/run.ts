import { journalFiles } from '../journal-files.js';
import { Netback } from '../netback/netback.js';
import type { VifInfo } from '../netback/types.js';
import { inheritedDescriptors, ServiceManager } from '../service-manager.js';
import { isKernels } from './kernel-driver.js';
import { withManager } from './manager-log.js';
import { eventLog } from './run-log.js';
import type { RunOptions } from './run-options.js';
import { sweep } from './sweep.js';
import { Taps } from './taps.js';
import { openXenFor } from './xen.js';

/** `vifd run`. Resolves after an orderly stop. */
export async function run(options: RunOptions): Promise<void> {
  const stop = stopSignal();
  const plain = eventLog(options.json === true);
  const manager = ServiceManager.find((error) => plain.error(error, undefined));
  const log = manager === undefined ? plain : withManager(plain, manager);
  const { payload, journal, bridge } = options;
  const kept = inheritedDescriptors();
  const taps = new Taps({ manager, kept, ...(bridge === undefined ? {} : { bridge }) });
  await using xen = await openXenFor(options);
  const listeners = { attached: log.attached, detached: log.detached, error: log.error };
  const port = (vif: VifInfo) => taps.open(vif);
  // A simulated Xen has no drivers in this kernel.
  const accept = (vif: VifInfo) => xen.shares !== undefined || !isKernels(vif);
  const journals = journal === false ? undefined : journalFiles(journal);
  await using netback = await Netback.open(
    { xen, port, accept, payload, ...(journals && { journals }) },
    listeners,
  );
  // Those who are still there come first.
  if (journal !== false && journals !== undefined) {
    const { store, domid } = xen;
    const removeTap = (name: string) => taps.remove(name);
    for (const vif of await sweep({ store, domid, directory: journal, journals, removeTap })) log.swept(vif);
  }
  log.ready(netback);
  await stop;
  log.stopping();
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
