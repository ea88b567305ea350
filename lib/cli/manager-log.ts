import type { ServiceManager } from '../service-manager.js';
import type { EventLog } from './run-log.js';

/** Tells a service manager as well: when it is ready, how many vifs are attached, and that it ends. */
export function withManager(log: EventLog, manager: ServiceManager): EventLog {
  const attached = new Set<string>();
  let serving = false;
  const status = () => `${attached.size} ${attached.size === 1 ? 'vif' : 'vifs'} attached`;
  const changed = () => {
    if (serving) manager.status(status());
  };
  return {
    ...log,
    ready: (netback) => {
      log.ready(netback);
      serving = true;
      manager.ready(status());
    },
    attached: (vif, how) => {
      log.attached(vif, how);
      attached.add(vif.id);
      changed();
    },
    detached: (vif, why) => {
      log.detached(vif, why);
      attached.delete(vif.id);
      changed();
    },
    stopping: () => {
      log.stopping();
      serving = false;
      manager.stopping('detaching; guests stay connected');
    },
  };
}
