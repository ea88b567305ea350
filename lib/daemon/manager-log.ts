import type { ServiceManager } from '../host/service-manager.js';
import type { Netback } from '../netback/netback.js';
import type { EventLog } from './run-log.js';
import { statusText } from './served.js';

/** The shortest time between two changes of the status, since a guest may toggle its state. */
const STATUS_MS = 100;

/**
 * Returns a log that also reports to a service manager: when vifd is ready, how many vifs are attached, the present faults, and that
 * vifd ends.
 */
export function withManager(log: EventLog, manager: ServiceManager): EventLog {
  let serving: Netback | undefined;
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
    ready: (netback) => {
      log.ready(netback);
      serving = netback;
      reported = statusText(netback);
      manager.ready(reported);
    },
    attached: following(log.attached),
    detached: following(log.detached),
    error: following(log.error),
    mended: following(log.mended),
    recovered: following(log.recovered),
    stopping: () => {
      log.stopping();
      serving = undefined;
      clearTimeout(timer);
      manager.stopping('detaching; guests stay connected');
    },
  };
}
