import { vifdErrorOf } from '../errors.js';
import type { CodeCache } from '../host/code-cache.js';
import { inheritedDescriptors, SystemdKeeper } from '../host/systemd-keeper.js';
import { inlineMore } from '../host/v8-flags.js';
import { Netback } from '../netback/netback.js';
import { PatientLock } from '../runtime/patient-lock.js';
import type { Clock } from '../xen/seam.js';
import { storeCodeLater } from './code-later.js';
import { findManager } from './manager-log.js';
import type { RunOptions } from './option-table.js';
import { endProcess } from './output.js';
import { queryService } from './query-service.js';
import { type EventLog, eventLog, listenersOf } from './run-log.js';
import { openXenLogged, servingWith } from './serving.js';
import { watchStandstill } from './standstill.js';
import { stopSignal } from './stop-signal.js';
import { sweeping } from './sweep.js';

/** How long after SIGTERM a start may continue before the process ends. */
const HANGING_START_MS = 500;

/** What `EndWorkers` needs. */
interface Left {
  readonly directory: string;
  readonly domid: number;
  readonly clock: Clock;
  readonly log: EventLog;
}

/** Ends the workers that a supervisor has left in the runtime directory, and resolves when they are gone. */
type EndWorkers = (left: Left) => Promise<void>;

/**
 * Runs `vifd run`. After an orderly stop it ends the process and does not return.
 * @param code of the file that this was started from, if it was one.
 */
export async function run(options: RunOptions, endWorkers: EndWorkers, code?: CodeCache): Promise<void> {
  const stop = stopSignal();
  using plain = eventLog({ json: options.json === true });
  let started = false;
  // A start may hang because the store or a device does. Guests that are attached by then are resumed later, as after a kill.
  stop.then(() => setTimeout(() => started || endProcess(0), HANGING_START_MS).unref());
  const { socket, manager, log } = findManager(plain);
  const { journal } = options;
  const keeper = new SystemdKeeper(socket, inheritedDescriptors());
  await using xen = await openXenLogged(options, log, ({ message }) => manager?.status(message));
  using lock = journal === false ? undefined : new PatientLock(journal, xen.clock, log);
  // Before the first attach: they serve the same vifs.
  if (journal !== false) {
    const { clock, domid } = xen;
    await endWorkers({ directory: journal, domid, clock, log }).catch((error) =>
      log.error(vifdErrorOf(error), undefined),
    );
  }
  const { taps, ownership, options: serve } = servingWith(options, { xen, keeper, log });
  await using netback = await Netback.open(serve, ownership.listening(listenersOf(log)));
  ownership.onChange = () => void netback.look().catch((error) => log.error(error, undefined));
  // After the start, since guests that wait for their network come first.
  if (journal !== false) await sweeping({ xen, directory: journal, taps, log }).run();
  let queries: AsyncDisposable | undefined;
  lock?.whenTaken((directory, taken) => {
    queries = queryService(directory, netback, taken, log);
  });
  started = true;
  log.ready(netback);
  // V8 compiles the data path for speed only after thousands of turns, so this need not precede the guests.
  inlineMore();
  using _standstill = watchStandstill(xen.clock, (lateMs) => log.late(lateMs));
  using _code = code && storeCodeLater(code, xen.clock, () => netback.vifs.values());
  await stop;
  log.stopping();
  await queries?.[Symbol.asyncDispose]();
  await netback[Symbol.asyncDispose]();
  plain[Symbol.dispose]();
  // All output is written, and vifd has detached from all guests. The kernel frees the rest faster than Node's own exit, which frees its heap
  // and waits for its threads while no next process can start.
  endProcess(0);
}
