import type { Guest } from './guest.js';
import { must } from './process.js';
import type { Peer } from './traffic.js';

/** The numbers of the VLANs, outermost tag first; each is also the third number of its addresses. */
const TAGS = [100, 200] as const;

/**
 * A VLAN trunk to a guest: VLAN interfaces over dom0's bridge and over the guest's eth0, `eth0.100` with one tag and `eth0.100.200` with two.
 * Both ends load 8021q. By default the bridge ignores tags.
 */
export class Trunk {
  /** The guest by its addresses behind no tag, one tag and two tags. */
  readonly peers: readonly Peer[];
  readonly #guest: Guest;

  private constructor(guest: Guest) {
    this.#guest = guest;
    const last = guest.address.split('.').at(-1);
    this.peers = [
      guest,
      ...TAGS.map((tag, i) => ({
        name: `${guest.name} behind ${i + 1} tag(s)`,
        address: `10.77.${tag}.${last}`,
      })),
    ];
  }

  static async open(guest: Guest): Promise<Trunk> {
    const trunk = new Trunk(guest);
    await must('modprobe', '8021q');
    await must(
      'sh',
      '-e',
      '-c',
      vlansOver('xenbr0', (tag) => `10.77.${tag}.1`),
    );
    const last = trunk.peers[0]?.address.split('.').at(-1);
    await guest.exec(`set -e; modprobe 8021q; ${vlansOver('eth0', (tag) => `10.77.${tag}.${last}`)}`);
    return trunk;
  }

  /** Removes the interfaces of both ends. The interface with two tags goes with the one below it. */
  async close(): Promise<void> {
    await must('ip', 'link', 'delete', `xenbr0.${TAGS[0]}`);
    await this.#guest.exec(`/bin/ip link delete eth0.${TAGS[0]}`);
  }
}

/** @returns lines of shell that make the VLAN interfaces. They name `ip` by its path: busybox's `sh` would run its own. */
function vlansOver(lowest: string, addressOf: (tag: number) => string): string {
  let below = lowest;
  const lines = TAGS.flatMap((tag) => {
    const name = `${below}.${tag}`;
    const made = [
      `/bin/ip link add link ${below} name ${name} type vlan id ${tag}`,
      `/bin/ip addr add ${addressOf(tag)}/24 dev ${name}`,
      `/bin/ip link set ${name} up`,
    ];
    below = name;
    return made;
  });
  // A failed test may have left its interfaces.
  return [`/bin/ip link delete ${lowest}.${TAGS[0]} 2>/dev/null || true`, ...lines].join('; ');
}
