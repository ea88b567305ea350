import { accessSync, constants } from 'node:fs';
import type { Check } from './check-result.js';
import { namesIn, readText } from './files.js';

/** linux/capability.h; CAP_SYS_ADMIN stands for CAP_BPF. */
const CAP_NET_ADMIN = 12n;
const CAP_SYS_ADMIN = 21n;
const CAP_BPF = 39n;

/** Checks the rights to make taps, to put them into bridges, and to limit their queues. */
export function rightsCheck(root: string): Check {
  const name = 'rights';
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readText(`${root}/proc/self/status`) ?? '')?.[1] ?? '0';
  const has = (capability: bigint) => ((BigInt(`0x${effective}`) >> capability) & 1n) === 1n;
  if (!has(CAP_NET_ADMIN))
    return { name, state: 'missing', found: 'no CAP_NET_ADMIN', remedy: 'run as root' };
  if (has(CAP_BPF) || has(CAP_SYS_ADMIN)) return { name, state: 'ok', found: 'CAP_NET_ADMIN, CAP_BPF' };
  const found = 'CAP_NET_ADMIN, but no CAP_BPF: taps get short queues, and lose bursts to guests sooner';
  return { name, state: 'warn', found, remedy: 'run as root, or with CAP_BPF too' };
}

const SCRIPT = '/etc/xen/scripts/vif-bridge';

/** Checks the hotplug script, which libxl runs to put the tap into its bridge, and for whose result libxl waits. */
export function hotplugCheck(root: string): Check {
  const name = 'hotplug script';
  try {
    accessSync(`${root}${SCRIPT}`, constants.X_OK);
    return { name, state: 'ok', found: SCRIPT };
  } catch {
    const remedy = '`apt-get install -y xen-utils-common`, or name a script of your own in the vif of xl.cfg';
    return { name, state: 'warn', found: `${SCRIPT} is not there, or cannot be run`, remedy };
  }
}

/**
 * Checks for bridges that have only taps as ports. A tap has a carrier while a process has it open. When all ports of a bridge lose theirs, so
 * does the bridge, and this domain forgets its neighbours there: its own connections to guests then stall for seconds, but not those between
 * guests.
 */
export function bridgesCheck(root: string): Check {
  const name = 'bridges';
  const net = `${root}/sys/class/net`;
  const bridges = namesIn(net).filter((link) => namesIn(`${net}/${link}`).includes('bridge'));
  if (bridges.length === 0) {
    const remedy = '`ip link add xenbr0 type bridge && ip link set xenbr0 up`, and your uplink into it';
    return { name, state: 'warn', found: 'there is none', remedy };
  }
  const alone = bridges.filter((bridge) => namesIn(`${net}/${bridge}/brif`).every((port) => isVif(port)));
  if (alone.length === 0) return { name, state: 'ok', found: bridges.join(', ') };
  const [first] = alone;
  return {
    name,
    state: 'warn',
    found: `${alone.join(', ')}: no port but vifs, so the carrier goes while vifd is away, and with it this domain's neighbours`,
    remedy: `give it an uplink, or \`ip link add ${first}-up type dummy && ip link set ${first}-up master ${first} up\``,
  };
}

function isVif(port: string): boolean {
  return /^vif\d+\.\d+/.test(port);
}
