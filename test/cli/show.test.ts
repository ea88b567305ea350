import { afterEach, describe, expect, it } from 'vitest';
import { showAllText, showText } from '../../lib/cli/show-text.js';
import { DurableWords } from '../../lib/durable/durable-words.js';
import { HASH_BANKS } from '../../lib/durable/layout.js';
import { HashState } from '../../lib/netback/guest/hash.js';
import { hashDetailsOf, type VifDetails } from '../../lib/netback/show.js';
import { HASH_ALGORITHM_TOEPLITZ, HASH_TYPE_IPV4, HASH_TYPE_IPV6_TCP } from '../../lib/protocol/control.js';
import { EXTRA_TYPE_MCAST_ADD, TX_FLAG_CSUM_BLANK, TX_FLAG_EXTRA_INFO } from '../../lib/protocol/netif.js';
import { World } from '../../worlds/model/raw-world.js';

const BACKEND = '/local/domain/0/backend/vif/7/0';

describe('what is shown of a vif', () => {
  let world: World;
  afterEach(() => world.close());

  const show = (): VifDetails => world.netback.vifs.get('vif7.0')!.show();

  async function start(keys: Record<string, string> = {}): Promise<Awaited<ReturnType<World['guest']>>> {
    world = await World.open();
    const guest = await world.guest(7);
    await world.settled(guest.connect(world.toolstack, keys));
    await world.start('copy');
    return guest;
  }

  it('is all that was negotiated, programmed and counted, and continues over a restart', async () => {
    const guest = await start({ 'request-multicast-control': '1', 'xdp-headroom': '192' });
    await world.settled(world.toolstack.store.write(`${BACKEND}/rate`, '1000,5000'));
    await world.settle();
    guest.send([
      { size: 60, flags: TX_FLAG_EXTRA_INFO },
      { words: [EXTRA_TYPE_MCAST_ADD | (0x3333 << 16), 0x01000000, 0] },
    ]);
    guest.post([guest.ref(0), guest.ref(1)]);
    world.port('vif7.0').put(new Uint8Array(80));
    await world.settle();

    const shown = show();
    expect(shown).toMatchObject({ id: 'vif7.0', state: 'connected', reason: undefined, port: 'test' });
    expect(shown.connection).toMatchObject({
      resumes: 0,
      payload: 'copy',
      journal: true,
      negotiated: {
        scatterGather: true,
        gsoV4: true,
        checksumV4: true,
        rxNotify: false,
        splitChannels: false,
      },
      xdpHeadroom: 192,
      rate: { bytes: 1000, intervalMs: 5 },
      multicast: { requested: true, filtering: true, addresses: ['33:33:00:00:00:01'] },
    });
    expect(shown.connection?.queues).toMatchObject([
      {
        txRingRef: expect.any(Number),
        fromGuest: { reqProd: 2, reqCons: 2, rspProd: 2, size: 256 },
        toGuest: { reqProd: 2, reqCons: 2, rspProd: 2 },
        pendingFrames: 0,
        stagedGrants: 0,
        stalled: false,
        stats: { toGuest: { frames: 1, bytes: 80 } },
      },
    ]);
    for (const resumes of [1, 2]) {
      await world.stop();
      await world.start('copy');
      expect(show().connection).toMatchObject({
        resumes,
        multicast: { addresses: ['33:33:00:00:00:01'] },
        xdpHeadroom: 192,
      });
    }
    // Programs get JSON.
    expect(JSON.parse(JSON.stringify(show())).connection.queues[0].toGuest.rspProd).toBe(2);
  });

  it('shows what waits, and indices that wrap as they are', async () => {
    world = await World.open();
    const guest = await world.guest(7);
    guest.beginAt(0xffffffff);
    await world.settled(guest.connect(world.toolstack));
    await world.start('copy');
    guest.post([guest.ref(0), guest.ref(1)]);
    world.port('vif7.0').put(new Uint8Array(9000));
    await world.settle();
    const [queue] = show().connection!.queues;
    expect(queue).toMatchObject({ pendingFrames: 1, toGuest: { reqProd: 1, reqCons: 0xffffffff } });
    const rows = showText(show()).split('\n').slice(-4);
    expect(rows[2]).toMatch(/^ {2}0 +to-guest .* 1 +4294967295 +2 +1 pending$/);
  });

  it('has the hash that the guest set up', async () => {
    await start();
    const hash = new HashState(DurableWords.ofProcess(HASH_BANKS.words), 2);
    hash.setAlgorithm(HASH_ALGORITHM_TOEPLITZ);
    hash.setFlags(HASH_TYPE_IPV4 | HASH_TYPE_IPV6_TCP);
    hash.setKey(Uint8Array.of(0x6d, 0x5a), 2);
    hash.setMappingSize(4);
    const details = hashDetailsOf(hash);
    expect(details).toMatchObject({
      algorithm: 'toeplitz',
      types: ['IPv4', 'IPv6/TCP'],
      mapping: [0, 0, 0, 0],
    });
    expect(details.key).toBe(`6d5a${'0'.repeat(76)}`);
    expect(show().connection?.hash).toBeUndefined();
    const shown = show();
    const text = showText({ ...shown, connection: { ...shown.connection!, hash: details } });
    expect(text).toMatch(
      /\n {2}hash {10}toeplitz of IPv4, IPv6\/TCP, queues by 4 entries\n {2}hash key {6}6d5a0/,
    );
  });

  it('names the reasons for which frames were dropped, and counts stalls, where there are any', async () => {
    const guest = await start();
    expect(showText(show())).not.toMatch(/\n {2}dropped|stall/);
    guest.send([{ size: 60, flags: TX_FLAG_CSUM_BLANK }]);
    await world.settle();
    expect(showText(show())).toMatch(/\n {2}dropped {7}from-guest: offload 1\n {2}attached/);
    const { connection, stats, ...shown } = show();
    const drops = { ...stats.toGuest.drops, buffers: 12, port: 3 };
    const queues = connection!.queues.map((queue) => ({ ...queue, stats: { ...queue.stats, stalls: 2 } }));
    const more = { ...stats, toGuest: { ...stats.toGuest, drops } };
    const text = showText({ ...shown, stats: more, connection: { ...connection!, queues } });
    expect(text).toMatch(/from-guest: offload 1\n {16}to-guest: port 3, buffers 12\n/);
    expect(text).toMatch(/to-guest .* 2 stalls\n/);
  });

  it('lines up for people, and shows why a vif is stopped', async () => {
    const guest = await start();
    const text = showText(show());
    expect(text).toMatch(/^vif7\.0 {2}connected\n {2}mac {11}00:16:3e:00:00:07\n {2}bridge {8}-\n/);
    expect(text).toMatch(
      /\n {2}guest takes {3}frames of several slots, GSO IPv4 and IPv6, partial checksums/,
    );
    expect(text).toMatch(/sends no events for buffers\n/);
    const [title, ...rows] = text.trimEnd().split('\n').slice(-3);
    for (const row of rows)
      expect(row.indexOf('from-guest') + row.indexOf('to-guest') + 1).toBe(title.indexOf('DIRECTION'));
    guest.send([{ size: 60, offset: 4090 }]);
    await world.settle();
    expect(showText(show())).toMatch(/^vif7\.0 {2}stopped: .*page/);
    const away = { code: 'ERR_STORE_GONE', message: 'The connection to xenstore was lost.' } as const;
    expect(showAllText({ faults: [away], vifs: [show()] })).toMatch(
      /^The connection to xenstore was lost\.\nvif7\.0 {2}stopped/,
    );
    expect(showAllText({ faults: [], vifs: [] })).toBe('no vifs\n');
    const processes = [
      { role: 'supervisor', pid: 7, vifs: [], memoryBytes: 12 << 20, load: 0.004 },
      { role: 'worker', pid: 10, vifs: ['vif1.0', 'vif2.0'], memoryBytes: undefined, load: 0.25 },
    ] as const;
    expect(showAllText({ faults: [], processes, vifs: [] })).toBe(
      `PROCESS  ROLE        MEMORY    CPU   VIFS
7        supervisor  12.0 MiB  0 %   -
10       worker      -         25 %  vif1.0 vif2.0

no vifs
`,
    );
    expect(show().connection).toBeUndefined();
  });
});
