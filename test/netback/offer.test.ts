import { afterEach, describe, expect, it } from 'vitest';
import type { Feature } from '../../lib/netback/vif/offer.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';

const BACK = '/local/domain/0/backend/vif/7/0';
const FRONT = '/local/domain/7/device/vif/0';

describe('what is offered to a guest', () => {
  let world: World;
  afterEach(() => world.close());

  const read = (path: string) => world.settled(world.toolstack.store.read(path));
  const write = async (path: string, value: string) => {
    await world.settled(world.toolstack.store.write(path, value));
    await world.settle();
  };
  const vif = () => world.netback.vifs.get('vif7.0')!;

  /** A guest that connects to a vif which the toolstack made, so that the features are ours. */
  async function connected(
    keys: Record<string, string> = {},
    without: readonly Feature[] = [],
  ): Promise<RawGuest> {
    world = await World.open();
    await waiting(without);
    const guest = await world.guest(7);
    await world.settled(guest.connect(world.toolstack, keys));
    await world.settle();
    expect(vif().state).toBe('connected');
    return guest;
  }

  async function waiting(without: readonly Feature[] = []): Promise<void> {
    await write(`${FRONT}/state`, '1');
    for (const [key, value] of Object.entries({ frontend: FRONT, online: '1', state: '1' }))
      await write(`${BACK}/${key}`, value);
    await world.start('copy', [], { without });
  }

  async function again(without: readonly Feature[] = []): Promise<void> {
    await world.stop();
    await world.start('copy', [], { without });
  }

  it('is not what the operator leaves out', async () => {
    world = await World.open();
    await write(`${BACK}/feature-gso-tcpv6`, '1');
    await waiting(['feature-gso-tcpv6', 'feature-ctrl-ring']);
    expect(await read(`${BACK}/feature-gso-tcpv6`)).toBe('0');
    expect(await read(`${BACK}/feature-ctrl-ring`)).toBe('0');
    expect(await read(`${BACK}/feature-gso-tcpv4`)).toBe('1');
  });

  it('is written anew for a guest that waits, when another backend comes', async () => {
    world = await World.open();
    await waiting();
    await again(['feature-sg']);
    expect(await read(`${BACK}/state`)).toBe('2');
    expect(await read(`${BACK}/feature-sg`)).toBe('0');
  });

  it('and less than before is refused to a connected guest, which only the operator learns; more is served', async () => {
    const guest = await connected();
    guest.send([{ size: 60 }]);
    await world.settle();
    await again(['feature-gso-tcpv4', 'feature-gso-tcpv6']);
    expect(vif().state).toBe('stopped');
    expect(vif().reason).toMatch(/^the previous backend offered feature-gso-tcpv4, feature-gso-tcpv6, which/);
    expect(world.errors.map(({ code }) => code)).toEqual(['ERR_PROTOCOL']);
    expect(await read(`${BACK}/state`)).toBe('4');
    // Another look does not report it again.
    await write(`${FRONT}/state`, '4');
    expect(world.errors).toHaveLength(1);
    guest.send([{ size: 60 }]);
    await world.settle();
    expect(guest.txResponses()).toHaveLength(1);

    await again();
    expect(vif().state).toBe('connected');
    expect(world.attached.at(-1)?.resumed).toBe(true);
    expect(guest.txResponses()).toHaveLength(2);
  });

  it('counts for what the guest uses, where that can be seen', async () => {
    const unseen: Feature[] = [
      'feature-split-event-channels',
      'feature-multicast-control',
      'feature-dynamic-multicast-control',
      'feature-ctrl-ring',
      'feature-xdp-headroom',
    ];
    await connected();
    await again(unseen);
    expect(vif().state).toBe('connected');
    await world.close();
    await connected({ 'xdp-headroom': '256', 'request-multicast-control': '1' });
    await again(unseen);
    expect(vif().reason).toMatch(
      /^the previous backend offered .*multicast-control.*feature-xdp-headroom, which/,
    );
    expect(vif().reason).not.toMatch(/split/);
  });

  it('by a newer backend, and not known to us, is refused too; a guest that begins anew is served', async () => {
    await connected();
    await world.stop();
    await write(`${BACK}/feature-of-tomorrow`, '1');
    await write(`${BACK}/feature-of-yesterday`, '0');
    await world.start('copy');
    expect(vif().reason).toMatch(/^the previous backend offered feature-of-tomorrow, which/);
    await write(`${FRONT}/state`, '1');
    expect(await read(`${BACK}/state`)).toBe('2');
    const guest = await world.guest(7);
    await world.settled(guest.connect(world.toolstack));
    await world.settle();
    expect(vif().state).toBe('connected');
  });

  it('has a link that is up until setCarrier takes it down, over restarts and reconnects', async () => {
    await connected();
    expect(await read(`${BACK}/carrier`)).toBe('1');
    await world.settled(vif().setCarrier(false));
    await again();
    await write(`${FRONT}/state`, '1');
    expect(await read(`${BACK}/carrier`)).toBe('0');
    await world.settled(vif().setCarrier(true));
    expect(await read(`${BACK}/carrier`)).toBe('1');
  });

  it.each([
    [undefined, undefined],
    ['9000', 9000],
    ['67', undefined],
    ['65522', undefined],
    ['1e3', undefined],
    ['', undefined],
  ])('has the MTU of the toolstack: %j', async (text, mtu) => {
    world = await World.open();
    if (text !== undefined) await write(`${BACK}/mtu`, text);
    await waiting();
    expect(vif().mtu).toBe(mtu);
  });
});
