import { journalFiles } from '../journal-files.js';
import { Netback } from '../netback/netback.js';
import { inheritedDescriptors, ServiceManager } from '../service-manager.js';
import { answering } from './answers.js';
import { withManager } from './manager-log.js';
import { ownershipIn } from './ownership.js';
import { PatientLock } from './patient-lock.js';
import { eventLog } from './run-log.js';
import type { RunOptions } from './run-options.js';
import { stopSignal } from './stop-signal.js';
import { sweep } from './sweep.js';
import { Taps } from './taps.js';
import { openXenFor } from './xen.js';

/** `vifd run`. Does not return after an orderly stop: it ends the process. */
export async function run(options: RunOptions): Promise<void> {
  const stop = stopSignal();
  await serve(options, stop);
  // All is written and given back. To wait for the end of the event loop, and for V8 to take its heap apart, would double the time
  // in which the next process does not start.
  process.exit();
}

async function serve(options: RunOptions, stop: Promise<void>): Promise<void> {
  using plain = eventLog({ json: options.json === true });
  const manager = ServiceManager.find((error) => plain.error(error, undefined));
  const log = manager === undefined ? plain : withManager(plain, manager);
  const { payload, journal, bridge, queues } = options;
  const taps = new Taps({ manager, kept: inheritedDescriptors(), multiQueue: queues > 1 });
  await using xen = await openXenFor(options);
  using lock = journal === false ? undefined : new PatientLock(journal, xen.clock, log);
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
    const swept = await sweep({
      ...{ store, domid, directory: journal, journals },
      removeTap: (name) => taps.remove(name),
      domainExists: (guest) => xen.domainExists?.(guest),
      onKept: (error) => log.error(error, undefined),
    });
    for (const vif of swept) log.swept(vif);
  }
  let answers: AsyncDisposable | undefined;
  lock?.whenTaken((directory) => {
    answers = answering(directory, netback, log);
  });
  log.ready(netback);
  await stop;
  log.stopping();
  await answers?.[Symbol.asyncDispose]();
}
