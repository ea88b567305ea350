import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { memoryJournals } from '../../lib/durable/journal.js';
import { Netback } from '../../lib/netback/netback.js';
import { RX_FLAG_MORE_DATA } from '../../lib/protocol/netif.js';
import { VNET_FLAG_NEEDS_CSUM, VNET_GSO_TCPV4 } from '../../lib/protocol/vnet.js';
import { ModelHypervisor, ModelKilled, type ModelXen } from '../../lib/testing/model/index.js';
import { MACHINES } from '../../worlds/model/machine.js';
import { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { type Layer, payloadOf, segmentsOf, stacked } from '../stacked-frames.js';

const LAYERS: readonly Layer[] = [{ kind: 'tag', type: 0x8100 }, { kind: 'ip4' }, { kind: 'tcp' }];
const GSO_BYTES = 1000;
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** @returns a tagged GSO frame with this many bytes of payload, and the segments that the guest must get. */
function tagged(bytes: number, seed = 1, gsoBytes = GSO_BYTES) {
  const payload = payloadOf(bytes, seed);
  const { frame, csumStart } = stacked(LAYERS, payload, { checksum: 'partial' });
  const header = [VNET_FLAG_NEEDS_CSUM | (VNET_GSO_TCPV4 << 8), (gsoBytes | (csumStart << 16)) >>> 0, 16];
  return { frame, header, segments: segmentsOf(LAYERS, payload, gsoBytes).map(hex) };
}

const plain = (seed: number) => new Uint8Array(60).fill(seed);

/** Frames of one slot that the guest has, in the order of its pages. */
function frames(guest: RawGuest): string[] {
  return guest
    .rxResponses()
    .map(({ status }, page) => hex(guest.pages.bytes.subarray(page * 4096, page * 4096 + status)));
}

describe.each(MACHINES)('a frame that is delivered as segments, on %s', (_name, machine) => {
  let world: World;
  let guest: RawGuest;
  let posted = 0;
  beforeEach(async () => {
    posted = 0;
    world = await World.open(machine());
    guest = await world.guest(7);
  });
  afterEach(() => world.close());

  async function post(count: number): Promise<void> {
    guest.post(Array.from({ length: count }, () => guest.ref(posted++)));
    await world.settle();
  }

  const port = () => world.port('vif7.0');
  const stats = () => world.netback.vifs.get('vif7.0')!.stats.toGuest;

  it('comes by and by as the guest posts buffers, in order with the others', async () => {
    await world.start('copy', [guest]);
    const first = tagged(5500);
    const second = tagged(3000, 2);
    port().put(plain(1));
    port().put(first.frame, first.header);
    port().put(second.frame, second.header);
    port().put(plain(2));
    for (let i = 0; i < 11; i++) await post(1);
    const expected = [hex(plain(1)), ...first.segments, ...second.segments, hex(plain(2))];
    expect(frames(guest)).toEqual(expected);
    const bytes = expected.reduce((sum, { length }) => sum + length / 2, 0);
    expect(stats()).toMatchObject({ frames: 11, bytes, dropped: 0, errors: 0 });
  });

  it('continues with the next process where an orderly stop left it: nothing is lost or repeated', async () => {
    await world.start('copy', [guest]);
    const { frame, header, segments } = tagged(9000);
    port().put(frame, header);
    port().put(plain(3));
    for (let i = 0; i < 5; i++) {
      await post(2);
      await world.stop();
      await world.start('copy');
    }
    expect(frames(guest)).toEqual([...segments, hex(plain(3))]);
    expect(world.errors).toEqual([]);
  });

  it('is none for a guest without scatter-gather whose pages its segments do not fit', async () => {
    await world.settled(guest.connect(world.toolstack, { 'feature-sg': '0' }));
    await world.start('copy');
    const { frame, header } = tagged(10_000, 1, 5000);
    port().put(frame, header);
    port().put(plain(1));
    await post(4);
    expect(frames(guest)).toEqual([hex(plain(1))]);
    expect(stats().dropped).toBeGreaterThan(0);
  });
});

/** Each round reads what the round before has left, so the machine must settle in between: the model does. */
describe('a frame that is delivered as segments', () => {
  it.each([1448, 200, 30_000])(
    'of 64 KiB fills batch after batch: segments of %i bytes',
    async (gsoBytes) => {
      const world = await World.open();
      const guest = await world.guest(7);
      await world.start('copy', [guest]);
      const { frame, header, segments } = tagged(65_000, 5, gsoBytes);
      world.port('vif7.0').put(frame, header);
      const got: string[] = [];
      let pieces = '';
      for (let round = 0, from = 0; round < 10 && got.length < segments.length; round++) {
        guest.post(Array.from({ length: 100 }, (_, page) => guest.ref(page)));
        await world.settle();
        const responses = guest.rxResponses(from);
        from += responses.length;
        responses.forEach(({ status, flags }, page) => {
          pieces += hex(guest.pages.bytes.subarray(page * 4096, page * 4096 + status));
          if ((flags & RX_FLAG_MORE_DATA) !== 0) return;
          got.push(pieces);
          pieces = '';
        });
      }
      expect(got).toHaveLength(segments.length);
      expect(got.findIndex((one, i) => one !== segments[i])).toBe(-1);
      await world.close();
    },
  );
});

/** The model does not see stores into shared memory: the test kills the process before and after each of those, too. */
describe('a process that is killed while it delivers segments', () => {
  it('at any step loses none: those of one batch come again at most, in their order', async () => {
    let step = 1;
    while (await killedAt(step)) step++;
    console.log(`${step} kill points`);
    expect(step).toBeGreaterThan(25);
  });

  async function killedAt(step: number): Promise<boolean> {
    const hypervisor = new ModelHypervisor();
    const toolstack = hypervisor.open(0);
    const guest = new RawGuest(hypervisor.open(7));
    const connecting = guest.connect(toolstack);
    await hypervisor.settle();
    await connecting;
    const port = new TestPort();
    const journals = memoryJournals();
    const errors: string[] = [];
    let steps = 0;
    let armed = false;
    const onStep = (what: string) => {
      if (armed && ++steps === step) throw new ModelKilled(what);
    };
    const live = (xen: ModelXen) =>
      Netback.open(
        { xen, port: () => port, payload: 'copy', journals },
        { error: (error) => (xen.alive ? errors.push(error.message) : 0) },
      );
    const first = hypervisor.open(0, { onStep });
    const opening = live(first);
    await hypervisor.settle();
    await opening;
    const { frame, header, segments } = tagged(7000);
    port.put(frame, header);
    port.put(plain(9));
    await hypervisor.settle();
    armed = true;
    let posted = 0;
    const post = async (count: number) => {
      guest.post(Array.from({ length: count }, () => guest.ref(posted++)));
      await hypervisor.settle();
    };
    // The first buffers make room for three segments at a time.
    await post(1);
    await post(3);
    armed = false;
    const killed = !first.alive;
    if (killed) {
      const reopening = live(hypervisor.open(0));
      await hypervisor.settle();
      await reopening;
    }
    await post(12);
    const got = frames(guest);
    expect(errors).toEqual([]);
    // A kill before the batch is in the journal loses the frames that were just read: the port does not give them again.
    if (got.length === 0) return killed;
    const expected = [...segments, hex(plain(9))];
    const places = got.map((one) => expected.indexOf(one));
    expect(places).not.toContain(-1);
    expect([...new Set(places)]).toEqual(expected.map((_, i) => i));
    const repeats = places.filter((place, i) => i > 0 && place <= places[i - 1]!);
    expect(repeats.length).toBeLessThanOrEqual(1);
    expect(got.length - expected.length).toBeLessThanOrEqual(3);
    return killed;
  }
});
