import { expect, it } from 'vitest';
import { Netback } from '../../lib/netback/netback.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { createVif, Netfront, TrafficPort } from '../../lib/testing/netfront/index.js';

const DOMID = 7;
const PLACES = 64;
const FRAMES = 40;

const addressOf = (n: number) => Uint8Array.of(0x33, 0x33, 0, 0, 1, n);

it.each([true, false])(
  'a frontend changes its multicast list among its frames, and learns which changes were made (in order: %s)',
  async (inOrder) => {
    const hypervisor = new ModelHypervisor({ seed: 3 });
    const settled = async <T>(work: Promise<T>): Promise<T> => {
      await hypervisor.settle();
      return work;
    };
    const toolstack = hypervisor.open(0);
    await settled(createVif(toolstack.store, { domid: DOMID, handle: 0, mac: '00:16:3e:00:00:07' }));
    const hostPort = new TrafficPort({ check: { seed: 1, direction: 'from-guest' } });
    const netback = await settled(Netback.open({ xen: hypervisor.open(0), port: () => hostPort }));
    const port = new TrafficPort({ generate: { seed: 1, sizes: [60, 1514, 9000], frames: 0 } });
    const guest = hypervisor.open(DOMID);
    const front = await settled(
      Netfront.connect({ xen: guest, handle: 0, port, multicastControl: true, inOrder }),
    );
    await hypervisor.settle();

    const adds = Array.from({ length: PLACES + 2 }, (_, n) => front.changeMulticast('add', addressOf(n)));
    port.send(FRAMES);
    const removed = front.changeMulticast('remove', addressOf(1));
    const instead = front.changeMulticast('add', addressOf(100));
    front.pump();
    await hypervisor.settle();

    const made = await Promise.all(adds);
    expect(made.filter((done) => done)).toHaveLength(PLACES);
    expect(made.slice(PLACES)).toEqual([false, false]);
    expect(await Promise.all([removed, instead])).toEqual([true, true]);
    const addresses = netback.vifs.get('vif7.0')?.show().connection?.multicast.addresses;
    expect(addresses).toHaveLength(PLACES);
    expect(addresses).toContain('33:33:00:00:01:64');
    expect(addresses).not.toContain('33:33:00:00:01:01');
    expect(front.outstanding).toBe(0);
    expect(front.violations.list).toEqual([]);
    expect(hostPort.checker?.counts).toMatchObject({ frames: FRAMES, lost: 0, damaged: 0 });
  },
);
