import { afterEach, describe, expect, it } from 'vitest';
import { HEADERS_BYTES } from '../../lib/protocol/headers.js';
import type { HostCall } from '../../lib/testing/model/faults.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { Random } from '../../lib/testing/model/random.js';
import { modelMachine, xensimMachine, xensimMissing } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { type CutFrame, cutSlots, headersFrame, KINDS } from './cut-headers.js';

const MODES = [
  ['copied', 'copy', false, modelMachine],
  ['mapped, and copied for the port,', 'map', false, modelMachine],
  ['mapped, and written out of the pages,', 'map', true, modelMachine],
  ...(xensimMissing === undefined
    ? ([
        ['copied over xensim', 'copy', false, xensimMachine],
        ['mapped over xensim', 'map', false, xensimMachine],
      ] as const)
    : []),
] as const;

/** Slots of one publication. */
const SLOTS = 240;

let world: World;
let guest: RawGuest;
let port: TestPort;

async function begin(
  payload: 'copy' | 'map',
  writesMapped: boolean,
  machine = modelMachine(),
): Promise<void> {
  world = await World.open(machine);
  guest = await world.guest(7);
  port = new TestPort(writesMapped);
  world.ports.set('vif7.0', port);
  await world.start(payload, [guest]);
}

/** Sends the frame with each of the cuts. @returns the cuts with which the frame or its offloads did not reach the port. */
async function lost(frame: CutFrame, cuts: readonly (readonly number[])[], gsoBytes: number) {
  const bad: string[] = [];
  const most = Math.max(...cuts.map((ends) => ends.length)) + 2;
  const perTurn = Math.floor(SLOTS / most);
  for (let from = 0; from < cuts.length; from += perTurn) {
    const some = cuts.slice(from, from + perTurn);
    port.written.length = port.headers.length = 0;
    let page = 0;
    const slots = some.flatMap((ends) => {
      const own = cutSlots(guest, frame, ends, page, gsoBytes);
      page += ends.length + 1;
      return own;
    });
    const first = guest.tx[2]!;
    guest.send(slots);
    // A publication is several batches, and xensim's backend has this process's thread only between them.
    for (let round = 0; round < 100 && guest.tx[2] !== guest.tx[0]; round++) await world.settle();
    const responses = guest.txResponses(first);
    expect(responses.map(({ status }) => (status === 1 ? 0 : status))).toEqual(Array(slots.length).fill(0));
    for (const [i, ends] of some.entries()) {
      const [bytes, header] = [port.written[i], port.headers[i]];
      const start = header === undefined ? 0 : header[6]! | (header[7]! << 8);
      const isRight = bytes !== undefined && Buffer.compare(bytes, frame.bytes) === 0;
      if (!isRight || start !== frame.csumStart || header![1] !== kindOf(frame, gsoBytes))
        bad.push(`${ends}`);
    }
    expect(port.written.length).toBe(some.length);
  }
  return bad;
}

function kindOf(frame: CutFrame, gsoBytes: number): number {
  return gsoBytes === 0 ? 0 : frame.version === 4 ? 1 : 4;
}

/** @returns every `step`th cut, from an empty first slot to some bytes behind the headers. */
function singleCuts({ headersEnd }: CutFrame, step: number): number[][] {
  return Array.from({ length: Math.ceil((headersEnd + 20) / step) }, (_, i) => [i * step]);
}

/** @returns some pairs of cuts, and cuts into up to 19 slots, some of them empty. */
function severalCuts({ headersEnd }: CutFrame, seed: number): number[][] {
  const random = new Random(seed);
  const place = () => random.below(headersEnd + 20);
  return Array.from({ length: 90 }, (_, i) => {
    const count = i < 60 ? 2 : 3 + random.below(16);
    return Array.from({ length: count }, place).sort((a, b) => a - b);
  });
}

describe.each(MODES)('headers of frames from the guest, %s', (_name, payload, writesMapped, machine) => {
  afterEach(() => world.close());

  it.each(KINDS)('may be cut anywhere: %s', async (_kind, headers) => {
    await begin(payload, writesMapped, machine());
    const frame = headersFrame(headers);
    for (const gsoBytes of headers.protocol === 'tcp' ? [0, 100] : [0]) {
      const step = machine === xensimMachine ? 7 : 1;
      expect(await lost(frame, singleCuts(frame, step), gsoBytes), `gso ${gsoBytes}`).toEqual([]);
      expect(await lost(frame, severalCuts(frame, frame.csumStart), gsoBytes), `gso ${gsoBytes}`).toEqual([]);
    }
    expect(world.netback.vifs.get('vif7.0')!.stats.fromGuest).toMatchObject({ dropped: 0, errors: 0 });
  });
});

describe('headers of frames that are written out of the pages', () => {
  afterEach(() => world.close());

  it.each([
    [
      `of at most ${HEADERS_BYTES} bytes, are what was judged, and the payload is the page`,
      [66],
      HEADERS_BYTES,
    ],
    ['cut three times, too', [3, 40, 60], HEADERS_BYTES],
    [`of more than ${HEADERS_BYTES} bytes, are what was judged, as all of the frame is`, [66], 5322],
  ] as const)('%s', async (_name, cuts, judged) => {
    await begin('map', true);
    const frame = headersFrame({
      ...{ version: 6, protocol: 'tcp', payload: 5000 },
      extensions: judged === HEADERS_BYTES ? [] : [104, 104],
      tcpOptions: judged === HEADERS_BYTES ? 12 : 40,
    });
    const ends = [...cuts, 4000];
    port.onWrite = () => guest.pages.bytes.fill(0xee);
    guest.send(cutSlots(guest, frame, ends, 0));
    await world.settle();
    const [bytes] = port.written;
    expect(bytes).toHaveLength(frame.bytes.length);
    expect(Buffer.compare(bytes!.subarray(0, judged), frame.bytes.subarray(0, judged))).toBe(0);
    expect(bytes!.subarray(judged).every((byte) => byte === 0xee)).toBe(true);
  });

  it('that contradict what the guest asks for cost that frame alone', async () => {
    await begin('map', true);
    const good = headersFrame({ version: 4, protocol: 'tcp' });
    const bad = { ...good, bytes: good.bytes.with(12, 0x12) };
    guest.send([bad, good, bad].flatMap((frame, i) => cutSlots(guest, frame, [20, 300], i * 3)));
    await world.settle();
    expect(port.written).toEqual([good.bytes]);
    expect(guest.txResponses().map(({ status }) => status)).toEqual(Array(9).fill(0));
    expect(world.netback.vifs.get('vif7.0')!.stats.fromGuest).toMatchObject({ frames: 1, dropped: 2 });
  });

  it('that the host cannot copy are copied later, and no frame is counted twice', async () => {
    const failing = new Set<HostCall>();
    const host = (call: HostCall, domid: number) => (domid === 0 && failing.has(call) ? 'ENOMEM' : undefined);
    const hypervisor = new ModelHypervisor({ faults: { host } });
    await begin('map', true, modelMachine(hypervisor));
    const long = headersFrame({ version: 6, protocol: 'tcp', extensions: [104, 104] });
    const good = headersFrame({ version: 4, protocol: 'udp' });
    const bad = { ...good, bytes: good.bytes.with(12, 0x12).subarray(0, 200) };
    failing.add('copy');
    guest.send([bad, long, good].flatMap((frame, i) => cutSlots(guest, frame, [70], i * 2)));
    await world.settle();
    expect(guest.txResponses()).toEqual([]);
    expect(world.errors.map(({ code, errno }) => [code, errno])).toEqual([['ERR_HOST', 'ENOMEM']]);
    failing.clear();
    await hypervisor.advance(2000);
    expect(port.written).toEqual([long.bytes, good.bytes]);
    expect(world.mended).toHaveLength(1);
    expect(world.netback.vifs.get('vif7.0')!.stats.fromGuest).toMatchObject({ frames: 2, dropped: 1 });
  });
});
