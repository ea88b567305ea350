import { NotifySocket } from '../host/notify-socket.js';
import { ServiceManager } from '../host/service-manager.js';
import { systemClock } from '../xen/native/clock.js';
import type { EventLog } from './run-log.js';
import { type Served, statusText } from './served.js';

/** The shortest time between two changes of the status, since a guest may toggle its state. */
const STATUS_MS = 100;

/** The log of a process, with its service manager if it has one. */
export interface ManagedLog {
  readonly socket: NotifySocket | undefined;
  readonly manager: ServiceManager | undefined;
  readonly log: EventLog;
}

/** Finds the service manager of this process, and has the log report to it as well. */
export function findManager(plain: EventLog): ManagedLog {
  const socket = NotifySocket.find({
    clock: systemClock,
    onError: (error) => plain.error(error, undefined),
    onMended: (error) => plain.mended(error, undefined),
  });
  const manager = socket && new ServiceManager(socket);
  return { socket, manager, log: manager === undefined ? plain : withManager(plain, manager) };
}

/**
 * Returns a log that also reports to a service manager: when vifd is ready, how many vifs are attached, the present faults, and that
 * vifd ends.
 */
export function withManager(log: EventLog, manager: ServiceManager): EventLog {
  let serving: Served | undefined;
  let reported = '';
  let timer: NodeJS.Timeout | undefined;
  const report = () => {
    timer = undefined;
    if (serving === undefined) return;
    const status = statusText(serving);
    if (status !== reported) manager.status(status);
    reported = status;
  };
  // Delayed, because listeners run in the middle of the change that they report.
  const changed = () => {
    timer ??= setTimeout(report, STATUS_MS).unref();
  };
  const following = <Args extends unknown[]>(listener: (...args: Args) => void) => {
    return (...args: Args) => {
      listener(...args);
      changed();
    };
  };
  return {
    ...log,
    ready: (served) => {
      log.ready(served);
      serving = served;
      reported = statusText(served);
      manager.ready(reported);
    },
    attached: following(log.attached),
    detached: following(log.detached),
    error: following(log.error),
    mended: following(log.mended),
    recovered: following(log.recovered),
    changed: following(log.changed),
    workerDied: following(log.workerDied),
    tookOver: following(log.tookOver),
    parked: following(log.parked),
    stopping: () => {
      log.stopping();
      serving = undefined;
      clearTimeout(timer);
      manager.stopping('detaching; guests stay connected');
    },
  };
}
