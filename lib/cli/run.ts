import { VifdError } from '../errors.js';
import { journalFiles } from '../journal-files.js';
import { Netback } from '../netback/netback.js';
import { type RunLock, takeRunLock } from '../run-lock.js';
import { inheritedDescriptors, ServiceManager } from '../service-manager.js';
import { answering } from './answers.js';
import { withManager } from './manager-log.js';
import { ownershipIn } from './ownership.js';
import { type EventLog, eventLog } from './run-log.js';
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
  const { payload, journal, bridge, queues } = options;
  const taps = new Taps({ manager, kept: inheritedDescriptors(), multiQueue: queues > 1 });
  await using xen = await openXenFor(options);
  using lock = journal === false ? undefined : lockOrSay(journal, log);
  const ownership = ownershipIn(xen, (how) => taps.open(how));
  const journals = journal === false ? undefined : journalFiles(journal);
  await using netback = await Netback.open(
    {
      xen,
      port: (vif) => ownership.port(vif, bridge),
      accept: (vif, serving) => ownership.accept(vif, serving),
      payload,
      queues,
      ...(journals && { journals }),
    },
    ownership.listening(log),
  );
  ownership.onChange = () => void netback.look().catch((error) => log.error(error, undefined));
  // Those who are still there come first.
  if (journal !== false && journals !== undefined) {
    const { store, domid } = xen;
    const removeTap = (name: string) => taps.remove(name);
    for (const vif of await sweep({ store, domid, directory: journal, journals, removeTap })) log.swept(vif);
  }
  await using _answers = lock === undefined ? undefined : answering(lock.directory, netback, log);
  log.ready(netback);
  await stop;
  log.stopping();
}

/** Where journals cannot lie a lock cannot either: guests are served all the same, and it is said. */
function lockOrSay(directory: string, log: EventLog): RunLock | undefined {
  try {
    return takeRunLock(directory);
  } catch (error) {
    if (!(error instanceof VifdError) || error.code !== 'ERR_JOURNAL') throw error;
    log.error(error, undefined);
    return undefined;
  }
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
