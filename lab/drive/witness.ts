import type { Store, StoreWatch } from '../../lib/xen/seam.js';
import type { Guest } from './guest.js';

/** Records each state of a vif's two ends, from now on. */
export class StateWitness {
  readonly seen: string[] = [];
  readonly #watches: StoreWatch[] = [];

  static async open(store: Store, guest: Guest): Promise<StateWitness> {
    const witness = new StateWitness();
    const frontend = `/local/domain/${guest.domid}/device/vif/0`;
    for (const [who, path] of Object.entries({ backend: guest.backendPath, frontend })) {
      const look = async (): Promise<void> => {
        const state = `${who} ${(await store.read(`${path}/state`)) ?? 'gone'}`;
        if (!witness.seen.includes(state)) witness.seen.push(state);
      };
      witness.#watches.push(await store.watch(`${path}/state`, () => void look()));
      await look();
    }
    return witness;
  }

  async end(): Promise<string[]> {
    for (const watch of this.#watches) await watch.close();
    return this.seen;
  }
}

/** The events of a guest's interface. */
export interface Health {
  readonly carrierChanges: string;
  readonly errors: string;
  readonly dmesg: string;
}

const COUNTERS = 'rx_errors tx_errors rx_dropped tx_dropped tx_carrier_errors';

export async function healthOf(guest: Guest): Promise<Health> {
  return {
    carrierChanges: await guest.exec('cat /sys/class/net/eth0/carrier_changes'),
    errors: await guest.exec(
      `cd /sys/class/net/eth0/statistics; for c in ${COUNTERS}; do echo $c $(cat $c); done`,
    ),
    dmesg: await guest.exec('dmesg | grep -v "crng init done" | tail -n 20'),
  };
}
