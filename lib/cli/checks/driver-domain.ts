import type { StoreView } from '../../xen/seam.js';
import type { Check } from './check-result.js';
import { namesIn, readText } from './files.js';

/** Checks what a driver domain needs beyond a dom0. `domid` is this domain's, and not 0. */
export async function driverDomainChecks(
  root: string,
  store: Pick<StoreView, 'read'>,
  domid: number,
): Promise<Check[]> {
  return [await roleCheck(store, domid), hotplugDaemonCheck(root)];
}

/** libxl gives a domain made with driver_domain=1 the node `libxl`, which it may write (libxl__domain_make). */
async function roleCheck(store: Pick<StoreView, 'read'>, domid: number): Promise<Check> {
  const name = 'driver domain';
  if ((await store.read(`/local/domain/${domid}/libxl`)) !== undefined)
    return { name, state: 'ok', found: `domain ${domid}, made with driver_domain=1` };
  return {
    name,
    state: 'warn',
    found: `domain ${domid} was not made with driver_domain=1: vifs work, but \`xl devd\` logs an error for each guest that goes`,
    remedy: 'write `driver_domain=1` into its xl.cfg, and create it anew',
  };
}

/** libxl in dom0 runs no script for a vif of another domain, and leaves the deletion of a removed vif's node to that domain. */
function hotplugDaemonCheck(root: string): Check {
  const name = 'xl devd';
  const runs = namesIn(`${root}/proc`).some(
    (entry) => /^\d+$/.test(entry) && isHotplugDaemon(readText(`${root}/proc/${entry}/cmdline`)),
  );
  if (runs) return { name, state: 'ok', found: 'runs' };
  return {
    name,
    state: 'warn',
    found: 'does not run: no hotplug script is run, and each `xl destroy` waits 10 s for the vifs to go',
    remedy: "start it at each boot, as README.md, 'In a driver domain', has it",
  };
}

function isHotplugDaemon(commandLine: string | undefined): boolean {
  const [program = '', verb] = (commandLine ?? '').split('\0');
  return /(^|\/)xl$/.test(program) && verb === 'devd';
}
