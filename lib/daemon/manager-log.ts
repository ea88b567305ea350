import { NotifySocket } from '../host/notify-socket.js';
import { ServiceManager } from '../host/service-manager.js';
import type { FaultLog } from '../runtime/insist.js';
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
  const socket = findSocket(plain);
  const manager = socket && new ServiceManager(socket);
  return { socket, manager, log: manager === undefined ? plain : withManager(plain, manager) };
}

/** Returns the socket of this process's service manager, if it has one. */
export function findSocket(log: FaultLog): NotifySocket | undefined {
  return NotifySocket.find({
    clock: systemClock,
    onError: (error) => log.error(error, undefined),
    onMended: (error) => log.mended(error, undefined),
  });
}

/** Reports to a service manager how many vifs are attached, and the present faults, from `ready` to `stopping`. */
export class StatusReports {
  readonly #manager: ServiceManager;
  #serving: Served | undefined;
  #reported = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(manager: ServiceManager) {
    this.#manager = manager;
  }

  ready(serving: Served): void {
    this.#serving = serving;
    this.#reported = statusText(serving);
    this.#manager.ready(this.#reported);
  }

  /** Call it when the status may have changed. The report is delayed, because listeners run in the middle of the change. */
  changed(): void {
    this.#timer ??= setTimeout(() => this.#report(), STATUS_MS).unref();
  }

  stopping(): void {
    this.#serving = undefined;
    clearTimeout(this.#timer);
    this.#manager.stopping('detaching; guests stay connected');
  }

  #report(): void {
    this.#timer = undefined;
    if (this.#serving === undefined) return;
    const status = statusText(this.#serving);
    if (status !== this.#reported) this.#manager.status(status);
    this.#reported = status;
  }
}

/**
 * Returns a log that also reports to a service manager: when vifd is ready, how many vifs are attached, the present faults, and that
 * vifd ends.
 */
export function withManager(log: EventLog, manager: ServiceManager): EventLog {
  const reports = new StatusReports(manager);
  const following = <Args extends unknown[]>(listener: (...args: Args) => void) => {
    return (...args: Args) => {
      listener(...args);
      reports.changed();
    };
  };
  return {
    ...log,
    ready: (served) => {
      log.ready(served);
      reports.ready(served);
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
      reports.stopping();
    },
  };
}
