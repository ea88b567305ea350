import { type LibrariesFound, probeLibraries } from '../../xen/native/probe.js';
import { openStore } from '../../xen/store/client.js';
import { ownDomid } from '../../xen/store/own-domid.js';
import type { Check, CheckOptions } from './check-result.js';
import { driverDomainChecks } from './driver-domain.js';
import { openError, readText } from './files.js';

/** Checks the hypervisor, its devices and libraries, and xenstored. */
export async function xenChecks(options: CheckOptions): Promise<Check[]> {
  const root = options.root ?? '';
  const { checks, simulated } = libraryChecks(probeLibraries(options.libraries));
  const devices = simulated
    ? []
    : [
        hypervisorCheck(root),
        deviceCheck(root, '/dev/xen/gntdev', 'xen-gntdev'),
        deviceCheck(root, '/dev/xen/evtchn', 'xen-evtchn'),
      ];
  return [...checks, ...devices, ...(await storeChecks(root, options.store))];
}

/** Returns the checks of the addon and the libraries. */
export function libraryChecks(result: LibrariesFound): { checks: Check[]; simulated: boolean } {
  if ('missing' in result) {
    const { missing, found, remedy } = result;
    const broken: Check = { name: missing, state: 'missing', found, remedy };
    const addon: Check = { name: 'native addon', state: 'ok', found: 'loads' };
    return { checks: missing === 'native addon' ? [broken] : [addon, broken], simulated: false };
  }
  const where = result.directory === undefined ? "the system's" : `in ${result.directory}`;
  const copy = result.grantCopy ? '' : ', without grant copy: payload is copied by mapping';
  const kind = result.simulated ? ', a simulated Xen' : '';
  return {
    checks: [
      { name: 'native addon', state: 'ok', found: 'loads' },
      { name: 'Xen libraries', state: 'ok', found: `${where}${kind}${copy}` },
    ],
    simulated: result.simulated,
  };
}

export function hypervisorCheck(root: string): Check {
  const name = 'hypervisor';
  if (readText(`${root}/sys/hypervisor/type`) !== 'xen') {
    const remedy = 'start this machine with Xen: `apt-get install -y xen-system-amd64`, then reboot';
    return { name, state: 'missing', found: 'this kernel does not run on Xen', remedy };
  }
  const part = (file: string) => readText(`${root}/sys/hypervisor/version/${file}`) ?? '?';
  // Only the uuid of dom0 is zero.
  const isDom0 = /^[0-]+$/.test(readText(`${root}/sys/hypervisor/uuid`) ?? '');
  const role = isDom0 ? 'dom0' : 'a domain other than dom0';
  return { name, state: 'ok', found: `Xen ${part('major')}.${part('minor')}; this is ${role}` };
}

export function deviceCheck(root: string, device: string, module: string): Check {
  const errno = openError(`${root}${device}`);
  if (errno === undefined) return { name: device, state: 'ok', found: 'opens' };
  const found = `cannot be opened (${errno})`;
  return { name: device, state: 'missing', found, remedy: deviceRemedy(errno, module) };
}

function deviceRemedy(errno: string, module: string): string {
  if (errno === 'EACCES') return 'run as root';
  // EPERM for root means a container, or a service manager's list of devices.
  if (errno === 'EPERM') return 'run as root, and allow the device where a container or a unit lists devices';
  return `\`modprobe ${module}\``;
}

async function storeChecks(root: string, path: string | undefined): Promise<Check[]> {
  const name = 'xenstore';
  try {
    await using store = await openStore(path === undefined ? {} : { path });
    const domid = await ownDomid(store);
    const responds: Check = { name, state: 'ok', found: `responds, to domain ${domid}` };
    return domid === 0 ? [responds] : [responds, ...(await driverDomainChecks(root, store, domid))];
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    // The message has two sentences: what was tried, and what to do.
    const [found = error.message, remedy] = error.message.split(/(?<=\))\. /);
    return [{ name, state: 'missing', found, remedy: remedy?.replace(/\.$/, '') ?? 'start xenstored' }];
  }
}
