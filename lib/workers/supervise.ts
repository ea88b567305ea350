import { findManager } from '../daemon/manager-log.js';
import type { RunOptions } from '../daemon/option-table.js';
import { endProcess } from '../daemon/output.js';
import { queryService } from '../daemon/query-service.js';
import { eventLog } from '../daemon/run-log.js';
import { openXenLogged, servingWith } from '../daemon/serving.js';
import { watchStandstill } from '../daemon/standstill.js';
import { stopSignal } from '../daemon/stop-signal.js';
import { sweeping } from '../daemon/sweep.js';
import { VifdError, vifdErrorOf } from '../errors.js';
import { anonymousBytes } from '../host/process-memory.js';
import { inheritedDescriptors, SystemdKeeper } from '../host/systemd-keeper.js';
import { stopNewSpaceGrowth } from '../host/v8-flags.js';
import { VifLocks } from '../host/vif-locks.js';
import { Discovery } from '../netback/vif/discovery.js';
import { VifNode } from '../netback/vif/vif-node.js';
import { PatientLock } from '../runtime/patient-lock.js';
import { adoptEarlier } from './adopt-earlier.js';
import { ChannelStore } from './channel-store.js';
import { Fleet } from './fleet.js';
import { LookAgain } from './look-again.js';
import { scheduling } from './process-stat.js';
import { RemoteVifs } from './remote-vifs.js';
import type { WorkerReports, WorkerStart } from './running-worker.js';
import { startWorker } from './start-worker.js';
import { SupervisedVifs } from './supervised-vifs.js';
import { Supervisor } from './supervisor.js';
import { TapStore } from './tap-store.js';
import { removeSocket } from './worker-socket.js';

/** How long after SIGTERM a start may continue before the process ends. */
const HANGING_START_MS = 500;

/**
 * Runs `vifd run` with workers: starts them, divides the vifs among them, and serves none itself. After an orderly stop it ends the process
 * and does not return.
 */
export async function supervise(options: RunOptions): Promise<void> {
  const { journal, payload, workers } = options;
  if (journal === false) {
    const message =
      'Workers lock their vifs in the runtime directory, so --workers cannot be used with --no-journal.';
    throw new VifdError('ERR_ARGUMENT', message);
  }
  const stop = stopSignal();
  using plain = eventLog({ json: options.json === true });
  let opened = false;
  // The store may hang. No worker was started by then, and those of an earlier supervisor continue.
  stop.then(() => setTimeout(() => opened || endProcess(0), HANGING_START_MS).unref());
  const { socket, manager, log } = findManager(plain);
  const report = (error: VifdError) => log.error(error, undefined);
  await using xen = await openXenLogged(options, log, ({ message }) => manager?.status(message));
  opened = true;
  const { clock, domid, store } = xen;
  using lock = new PatientLock(journal, clock, log);
  using tapStore = new TapStore(new SystemdKeeper(socket, new Map()), inheritedDescriptors(), report);
  using channels = new ChannelStore();
  const { taps, ownership } = servingWith(options, { xen, keeper: tapStore, log });
  const sweeps = sweeping({ xen, directory: journal, taps, log });

  const connect = (descriptor: number, reports: WorkerReports): RemoteVifs => {
    const onChanged = () => log.changed();
    return new RemoteVifs(descriptor, {
      ...reports,
      onAttached: (vif) => {
        reports.onAttached(vif);
        onChanged();
      },
      ...{ onDetached: onChanged, onChanged },
      onLookAgain: () => lookAgain.ask(),
      onKeep: (name, kept) => tapStore.own(name, kept),
      onForget: (name) => tapStore.forget(name),
      onKeepChannels: (vif, stored) => channels.own(vif, stored),
      onForgetChannels: (vif) => channels.forget(vif),
    });
  };
  const fleet: Fleet = new Fleet({
    clock,
    log,
    memoryOf: anonymousBytes,
    schedulingOf: scheduling,
    start: async (reports): Promise<WorkerStart> => {
      const process = await startWorker(workerCommand());
      void process.gone.then(() => removeSocket(journal, process.pid));
      return { process, remote: connect(process.descriptor, reports) };
    },
    onAttached: (vif) => supervisor.attached(vif),
    onGone: (worker, vif) => supervisor.gone(worker, vif),
    onDied: (worker) => supervisor.died(worker),
  });
  const supervisor = new Supervisor({
    clock,
    log,
    workers,
    fleet,
    channels,
    mapsFrames: payload === 'map',
    descriptorsOf: (vif) => tapStore.of(vif),
    onUnserved: (place, left) => {
      discovery.lookAt(place);
      if (left) void sweeps.run();
    },
    isThere: async (place) => (await VifNode.find(store, place.path, place)) !== undefined,
    ...(workers === 'per-guest' && {
      admits: async (place, connectedOnly) => {
        const node = await VifNode.find(store, place.path, place);
        if (node === undefined) return 'none';
        if (connectedOnly && !node.wasConnected) return 'waiting';
        return (await ownership.accept(place, false)) ? undefined : 'refused';
      },
    }),
  });
  const discovery = new Discovery({
    xen,
    server: supervisor,
    onError: report,
    onMended: (error) => log.mended(error, undefined),
  });
  const look = () => void discovery.look().catch((error) => report(vifdErrorOf(error)));
  using lookAgain = new LookAgain(clock, look);
  ownership.onChange = look;

  let queries: AsyncDisposable | undefined;
  const begin = async () => {
    const locks = new VifLocks(journal);
    await adoptEarlier({
      directory: journal,
      locks,
      domid,
      clock,
      fleet,
      supervisor,
      connect,
      onError: report,
    }).catch((error) => report(vifdErrorOf(error)));
    await discovery.open();
    fleet.begin();
    // After the start, since guests that wait for their network come first.
    await sweeps.run();
    const vifs = new SupervisedVifs({
      supervisor,
      store,
      clock,
      fleet,
      memoryOf: anonymousBytes,
      faults: () => [...discovery.faults, ...fleet.faults, ...supervisor.faults],
    });
    lock.whenTaken((directory, taken) => {
      queries = queryService(directory, vifs, taken, log);
    });
    log.ready(vifs);
  };
  using _standstill = watchStandstill(clock, (lateMs) => log.late(lateMs));
  const began = begin();
  // While it waits for workers.
  stopNewSpaceGrowth();
  // A start that hangs must not delay a stop.
  await Promise.race([began, stop]);
  await stop;
  log.stopping();
  supervisor.end();
  // Closing the discovery may take as long as the store is away; the process ends without that.
  const closing = discovery.close();
  closing.catch((error) => report(vifdErrorOf(error)));
  await Promise.all([queries?.[Symbol.asyncDispose](), fleet.end()]);
  plain[Symbol.dispose]();
  // As in `run`.
  endProcess(0);
}

/** Returns the arguments of node for a worker: those of this process, with another verb. */
function workerCommand(): string[] {
  const [, program, , ...options] = process.argv;
  return [program, 'worker', ...options];
}
