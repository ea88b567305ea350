import { type EventEmitter, errorMonitor } from 'node:events';
import { ServiceManager } from '../host/service-manager.js';
import { insideOf, type Netback } from '../netback/netback.js';
import { findSocket, StatusReports } from './manager-log.js';
import { queryService } from './query-service.js';

/** The events after which the status may be another one. */
const CHANGES = ['attached', 'detached', 'recovered', 'mended'] as const;

/**
 * Makes the program a service, as `vifd run` is one, until the result is disposed of (before its netback):
 * - `vifd show` and `vifd detach` can ask it, by a socket in the netback's runtime directory, from a second after the start on (`vifd show
 *   --journal DIRECTORY` asks in another one than `/run/vifd`). A netback without a runtime directory has none. A socket that cannot be
 *   created is reported (ERR_QUERY), and tried again.
 * - A service manager (systemd with `Type=notify`) learns that the program is ready, how many vifs are attached, the present faults, and at
 *   disposal that it ends. Its watchdog (`WatchdogSec=`) is fed from the event loop. Without `NOTIFY_SOCKET` in the environment nothing is
 *   sent; faults of that socket are reported (ERR_SERVICE_MANAGER).
 *
 * Call it once, after `Netback.open`. The netback's `error` has the reports. Never throws.
 */
export function asService(netback: Netback): AsyncDisposable {
  const { lock, log } = insideOf(netback);
  let queries: AsyncDisposable | undefined;
  let isOver = false;
  lock?.whenTaken((directory, taken) => {
    if (!isOver) queries = queryService(directory, netback, taken, log);
  });
  const socket = findSocket(log);
  const reports = socket && new StatusReports(new ServiceManager(socket));
  const changed = () => reports?.changed();
  for (const event of CHANGES) netback.on(event, changed);
  // It leaves a program without a listener for errors its warnings.
  (netback as EventEmitter).on(errorMonitor, changed);
  reports?.ready(netback);
  return {
    async [Symbol.asyncDispose]() {
      if (isOver) return;
      isOver = true;
      for (const event of CHANGES) netback.off(event, changed);
      (netback as EventEmitter).off(errorMonitor, changed);
      reports?.stopping();
      await queries?.[Symbol.asyncDispose]();
    },
  };
}
