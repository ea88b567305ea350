import { describe, expect, it } from 'vitest';
import { memoryJournals } from '../../lib/durable/journal.js';
import { Netback } from '../../lib/netback/netback.js';
import { CTRL_RING_SIZE } from '../../lib/protocol/control.js';
import { RING_HEADER_WORDS } from '../../lib/protocol/netif.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { Random } from '../../lib/testing/model/random.js';
import { RawGuest } from '../../worlds/model/raw-guest.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { frameOf, IPV4_VECTORS } from '../protocol/hash-vectors.js';
import { RawControl } from './raw-control.js';

const FRAME = frameOf(IPV4_VECTORS[0]);
const TYPES = 12;
const ROUNDS = 6;

/** The possible contents of a request: references that are granted and not, sizes around every limit. */
function anyValue(random: Random, guest: RawGuest, control: RawControl): number {
  const values = [0, 1, 2, 15, 40, 41, 127, 128, 129, 512, 513, 0x80000000, 0xffffffff];
  const refs = [control.ref, guest.ref(0), guest.ref(1), 30_000];
  return random.below(3) === 0 ? values[random.below(values.length)]! : refs[random.below(refs.length)]!;
}

/** A guest sends random requests, and changes requests and pages while the backend reads them. */
async function fuzz(seed: number): Promise<void> {
  const random = new Random(seed);
  const hypervisor = new ModelHypervisor();
  const guest = new RawGuest(hypervisor.open(7));
  const control = new RawControl(guest.xen, 0xffffffff - random.below(300));
  const toolstack = hypervisor.open(0);
  const connecting = guest.connect(toolstack, control.keys);
  await hypervisor.settle();
  await connecting;
  const port = new TestPort();
  const errors: string[] = [];
  const journals = memoryJournals();
  let hostile = false;
  const onStep = () => {
    if (!hostile) return;
    const slot = RING_HEADER_WORDS + random.below(CTRL_RING_SIZE) * 4;
    control.words[slot + random.below(4)] = anyValue(random, guest, control);
    control.page.u32[random.below(64)] = anyValue(random, guest, control);
  };
  const live = async () => {
    const opening = Netback.open(
      { xen: hypervisor.open(0, { onStep }), port: () => port, payload: 'copy', journals },
      { error: (error) => errors.push(error.message) },
    );
    await hypervisor.settle();
    return opening;
  };
  let netback = await live();
  for (let round = 0; round < ROUNDS; round++) {
    const requests = Array.from({ length: 1 + random.below(CTRL_RING_SIZE) }, () => [
      random.below(TYPES),
      ...[0, 0, 0].map(() => anyValue(random, guest, control)),
    ]);
    hostile = true;
    const from = control.ask(...requests);
    await hypervisor.settle();
    hostile = false;
    expect(control.responses(from)).toHaveLength(requests.length);
    expect(netback.vifs.get('vif7.0')?.reason).toBeUndefined();
    // It still serves; whatever of its own pages the guest has let it keep.
    guest.post([guest.ref(10), guest.ref(11)]);
    port.put(FRAME);
    const sent = guest.tx[2]!;
    guest.send([{ page: 12, size: 60 }]);
    await hypervisor.settle();
    expect(guest.txResponses(sent).map(({ status }) => status)).toEqual([0]);
    if (random.below(3) === 0) {
      const ending = netback[Symbol.asyncDispose]();
      await hypervisor.settle();
      await ending;
      netback = await live();
    }
  }
  expect(errors).toEqual([]);
  const ending = netback[Symbol.asyncDispose]();
  await hypervisor.settle();
  await ending;
}

describe('a control ring that changes while it is read', () => {
  it.each(Array.from({ length: 12 }, (_, i) => i + 1))('harms nobody, seed %i', fuzz);
});
