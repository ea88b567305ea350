import { closeSync, fstatSync } from 'node:fs';
import { storeCodeLater } from '../daemon/code-later.js';
import type { RunOptions } from '../daemon/option-table.js';
import { endProcess } from '../daemon/output.js';
import { type EventLog, eventLog } from '../daemon/run-log.js';
import { openXenLogged, servingWith } from '../daemon/serving.js';
import { watchStandstill } from '../daemon/standstill.js';
import { stopSignal } from '../daemon/stop-signal.js';
import { VifdError, vifdErrorOf } from '../errors.js';
import type { CodeCache } from '../host/code-cache.js';
import { confineWorker } from '../host/confine.js';
import { holdLiveness } from '../host/liveness.js';
import { raiseOomScore } from '../host/process-memory.js';
import { inlineMore, stopNewSpaceGrowth } from '../host/v8-flags.js';
import { VifLocks } from '../host/vif-locks.js';
import type { Clock } from '../xen/seam.js';
import { LastingSocket } from './lasting-socket.js';
import { LinkKeeper } from './link-keeper.js';
import { type Rehearsal, warmUp } from './warm-up.js';
import { Worker } from './worker.js';
import { WorkerSocket } from './worker-socket.js';

/** The descriptor at which a worker's process finds its end of the link to the supervisor that started it. */
export const LINK_DESCRIPTOR = 3;
/** The same of the page through which the supervisor sees it die. */
export const LIVENESS_DESCRIPTOR = 4;
/**
 * How much sooner the kernel kills a worker than its supervisor when memory runs out (thousandths of it): a worker's death costs some guests
 * tens of ms. In the unit the score is then -800, so that other programs go before both.
 */
const OOM_SCORE_MORE = 100;
/** A worker that was started because another one died gets its vifs sooner. */
const WARM_UP_AFTER_MS = 200;

/**
 * Runs `vifd worker`, which a supervisor starts: serves the vifs that a supervisor gives to it, until a supervisor or SIGTERM ends it. Then it
 * detaches and ends the process, and does not return.
 * @param options those of the supervisor.
 * @param rehearsal loads the guest for the warm-up. Without it the first frames come some ms later.
 * @param code of the file that this was started from, if it was one. A supervisor runs no code of the data path, so a worker stores it.
 * @throws VifdError ERR_ARGUMENT if the process was not started by a supervisor; or why it cannot start.
 */
export async function runWorker(
  options: RunOptions,
  rehearsal?: () => Rehearsal | undefined,
  code?: CodeCache,
): Promise<void> {
  const stop = stopSignal();
  if (!isSocket(LINK_DESCRIPTOR))
    throw new VifdError('ERR_ARGUMENT', '`vifd worker` is started by `vifd run --workers`: run that.');
  using log = eventLog({ json: options.json === true, worker: process.pid });
  let started = false;
  // Nothing is served yet that would have to be detached from.
  stop.then(() => started || endProcess(0));
  try {
    holdLiveness(LIVENESS_DESCRIPTOR);
    closeSync(LIVENESS_DESCRIPTOR);
  } catch (error) {
    // The supervisor sees its end all the same, some ms later.
    log.error(vifdErrorOf(error), undefined);
  }
  try {
    raiseOomScore(OOM_SCORE_MORE);
  } catch (error) {
    log.error(vifdErrorOf(error), undefined);
  }
  try {
    confineWorker();
  } catch (error) {
    // Its guests need it all the same.
    log.error(vifdErrorOf(error), undefined);
  }
  const { journal, payload } = options;
  await using xen = await openXenLogged(options, log);
  const keeper = new LinkKeeper((error) => log.error(error, undefined));
  const { ownership, options: serve } = servingWith(options, { xen, keeper, log });
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  using worker = new Worker({
    options: serve,
    listeners: ownership.listening(log),
    keeper,
    locks: journal === false ? undefined : new VifLocks(journal),
    onEnd: end,
  });
  ownership.onChange = () => worker.lookAgain();
  worker.accept(LINK_DESCRIPTOR);
  started = true;
  inlineMore();
  stopNewSpaceGrowth();
  using _code = code && storeCodeLater(code, xen.clock, () => worker.vifs.values());
  using _warming = xen.clock.after(WARM_UP_AFTER_MS, () => {
    const isNeeded = () => worker.vifs.size > 0;
    const loaded = isNeeded() ? undefined : rehearsal?.();
    if (loaded === undefined) return;
    warmUp({ rehearsal: loaded, payload, xen, isNeeded }).catch((error) =>
      log.error(vifdErrorOf(error), undefined),
    );
  });
  using socket = journal === false ? undefined : socketIn(journal, worker, xen.clock, log);
  using _standstill = watchStandstill(xen.clock, (lateMs) => log.late(lateMs));
  await Promise.race([stop, ended]);
  await worker.detach();
  socket?.[Symbol.dispose]();
  log[Symbol.dispose]();
  // As `vifd run` does: the kernel frees the rest faster.
  endProcess(0);
}

function socketIn(directory: string, worker: Worker, clock: Clock, log: EventLog): LastingSocket {
  const onError = (error: VifdError) => log.error(error, undefined);
  const onLink = (descriptor: number) => {
    try {
      worker.accept(descriptor);
    } catch (error) {
      onError(vifdErrorOf(error));
    }
  };
  return new LastingSocket({
    clock,
    log,
    open: () => new WorkerSocket(directory, process.pid, { onLink, onError }),
  });
}

function isSocket(descriptor: number): boolean {
  try {
    return fstatSync(descriptor).isSocket();
  } catch {
    return false;
  }
}
