import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { VifdError } from '../../lib/errors.js';
import { journalFiles } from '../../lib/host/journal-files.js';
import { FlowCounters } from '../../lib/netback/frames/counters.js';
import type { Frame, FrameFilter, FrameHeaders } from '../../lib/netback/frames/frame.js';
import { Hooks } from '../../lib/netback/frames/hooks.js';
import type { Vif } from '../../lib/netback/public-vif.js';
import { FRAME_LENGTH, FRAME_OFFSET, FrameBatch, frameAt } from '../../lib/ports/frame-batch.js';
import * as netif from '../../lib/protocol/netif.js';
import { VNET_FLAG_NEEDS_CSUM, VNET_GSO_TCPV6, VNET_GSO_UDP_L4 } from '../../lib/protocol/vnet.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { modelMachine } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';

const { GSO_TYPE_TCPV4, TX_FLAG_CSUM_BLANK, TX_FLAG_DATA_VALIDATED } = netif;
const { EXTRA_TYPE_GSO, TX_FLAG_EXTRA_INFO, TX_FLAG_MORE_DATA } = netif;
const ETHERTYPE_IPV4 = 0x0800;
/** How many bytes of a frame a filter can read. */
const READABLE_MAX = 280;

/** Returns a filter of which TypeScript would not approve: programs in JavaScript have them. */
function wrong(name: string, body: () => unknown): FrameFilter {
  return Object.defineProperty(body, 'name', { value: name }) as FrameFilter;
}

/** An Ethernet, IPv4 and TCP header. */
function tcpHeaders(size: number, port = 443): Uint8Array {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  bytes.set([2, 0, 0, 0, 0, 9, 0, 0x16, 0x3e, 0, 0, 7]);
  view.setUint16(12, ETHERTYPE_IPV4);
  view.setUint8(14, 0x45);
  view.setUint16(16, size - 14);
  view.setUint8(23, 6);
  view.setUint32(26, 0xc0a80102);
  view.setUint32(30, 0x0a000001);
  view.setUint16(34, 50_000);
  view.setUint16(36, port);
  view.setUint16(46, 0x5018);
  return bytes;
}

describe.each(['copy', 'map'] as const)('a filter, with payload mode %s', (payload) => {
  let hypervisor: ModelHypervisor;
  let world: World;
  let guest: RawGuest;
  let port: TestPort;
  let vif: Vif;
  beforeEach(async () => {
    hypervisor = new ModelHypervisor();
    world = await World.open(modelMachine(hypervisor));
    guest = await world.guest(7);
    port = new TestPort(payload === 'map');
    await world.start(payload, [guest], { port: () => port });
    vif = world.netback.vifs.get('vif7.0')!;
  });
  afterEach(() => world.close());

  const errors = () => world.errors.map(({ code, message }) => `${code} ${message}`);

  /** Sends a frame for each array, from a page each. */
  const send = async (...frames: Uint8Array[]) => {
    guest.send(
      frames.map((frame, page) => {
        guest.pages.bytes.set(frame, page * 4096);
        return { page, size: frame.length };
      }),
    );
    await world.settle();
  };

  it('reads the headers of each frame, and drops or passes it', async () => {
    const seen: unknown[] = [];
    using _filter = vif.filter((frame, direction) => {
      if (frame.u16(12) !== ETHERTYPE_IPV4 || frame.u8(23) !== 6) return 'drop';
      seen.push([direction, frame.length, frame.u32(26), frame.u16(36)]);
      return frame.u16(36) === 23 ? 'drop' : 'pass';
    });
    await send(tcpHeaders(60), tcpHeaders(61, 23), new Uint8Array(62), tcpHeaders(63));
    expect(seen).toEqual([
      ['from-guest', 60, 0xc0a80102, 443],
      ['from-guest', 61, 0xc0a80102, 23],
      ['from-guest', 63, 0xc0a80102, 443],
    ]);
    expect(port.written).toEqual([tcpHeaders(60), tcpHeaders(63)]);
    expect(vif.stats.fromGuest).toMatchObject({
      ...{ frames: 2, bytes: 123, filtered: 2, dropped: 0, hookErrors: 0 },
    });
    expect(guest.txResponses().map(({ status }) => status)).toEqual([0, 0, 0, 0]);
  });

  it('sees frames to the guest', async () => {
    const seen: unknown[] = [];
    using _filter = vif.filter((frame, direction) => {
      seen.push([direction, frame.length]);
      return frame.u16(36) === 23 ? 'drop' : 'pass';
    });
    guest.post([0, 1, 2].map((page) => guest.ref(page)));
    port.put(tcpHeaders(80, 23));
    port.put(tcpHeaders(90));
    await world.settle();
    expect(seen).toEqual([
      ['to-guest', 80],
      ['to-guest', 90],
    ]);
    expect(guest.rxResponses().map(({ status }) => status)).toEqual([90]);
    expect(vif.stats.toGuest).toMatchObject({ frames: 1, filtered: 1 });
  });

  it('reads at most the first 280 bytes of a long frame, which passes whole', async () => {
    const reads: unknown[] = [];
    using _filter = vif.filter((frame) => {
      reads.push(frame.length, frame.readable, frame.u8(279), frame.u16(278), frame.u32(276));
      for (const read of [
        () => frame.u8(280),
        () => frame.u16(279),
        () => frame.u32(277),
        () => frame.i32(277),
      ]) {
        expect(read).toThrow(RangeError);
        expect(read).toThrow('280 bytes of a frame of 2000');
      }
      return 'pass';
    });
    const frame = Uint8Array.from({ length: 2000 }, (_, i) => i & 0xff);
    await send(frame);
    expect(reads).toEqual([2000, READABLE_MAX, 279 & 0xff, 0x1617, 0x14151617]);
    expect(port.written).toEqual([frame]);
    expect(errors()).toEqual([]);
  });

  it('sees the offload and the whole length of a GSO frame', async () => {
    const seen: unknown[] = [];
    using _filter = vif.filter(({ length, readable, csumStart, csumOffset, gsoType, gsoSize }) => {
      seen.push({ length, readable, csumStart, csumOffset, gsoType, gsoSize });
      return 'pass';
    });
    guest.pages.bytes.set(tcpHeaders(10_000));
    const flags = TX_FLAG_CSUM_BLANK | TX_FLAG_DATA_VALIDATED | TX_FLAG_EXTRA_INFO | TX_FLAG_MORE_DATA;
    guest.send([
      { size: 10_000, flags, page: 0 },
      { words: [EXTRA_TYPE_GSO | (1448 << 16), GSO_TYPE_TCPV4, 0] },
      { size: 4096, flags: TX_FLAG_MORE_DATA, page: 1 },
      { size: 10_000 - 8192, page: 2 },
    ]);
    await world.settle();
    const offload = { csumStart: 34, csumOffset: 16, gsoType: 'tcp4', gsoSize: 1448 };
    expect(seen).toEqual([{ length: 10_000, readable: READABLE_MAX, ...offload }]);
    expect(port.written.map(({ length }) => length)).toEqual([10_000]);
  });

  it('that reads beyond the end of a short frame loses the frame, which is counted and reported', async () => {
    using _filter = vif.filter(function firewall(frame) {
      return frame.u16(36) === 23 ? 'drop' : 'pass';
    });
    await send(tcpHeaders(60), tcpHeaders(60).subarray(0, 37), tcpHeaders(60).subarray(0, 38));
    expect(errors()).toEqual([
      'ERR_HOOK vif7.0: Filter firewall threw: A read at 36 ends beyond what is readable: 37 bytes of a frame of 37. ' +
        'The frame is dropped, as is each for which it throws.',
    ]);
    expect(port.written.map(({ length }) => length)).toEqual([60, 38]);
    expect(vif.stats.fromGuest).toMatchObject({ frames: 2, filtered: 0, dropped: 0, hookErrors: 1 });
  });

  it('may catch the error of a read and pass the frame', async () => {
    using _filter = vif.filter((frame) => {
      try {
        frame.u32(30);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
        return 'pass';
      }
      return 'drop';
    });
    await send(new Uint8Array(33), new Uint8Array(34));
    expect(port.written.map(({ length }) => length)).toEqual([33]);
    expect(errors()).toEqual([]);
  });

  it('runs before all hooks, which see only frames that passed, and as they came', async () => {
    const order: string[] = [];
    vif.hook(({ bytes }) => {
      order.push(`hook ${bytes.length}`);
      return new Uint8Array(100);
    });
    vif.filter((frame) => {
      order.push(`first filter ${frame.length}`);
      return frame.length === 61 ? 'drop' : 'pass';
    });
    vif.filter((frame) => {
      order.push(`second filter ${frame.length}`);
      return frame.length === 62 ? 'drop' : 'pass';
    });
    await send(new Uint8Array(60));
    expect(order).toEqual(['first filter 60', 'second filter 60', 'hook 60']);
    order.length = 0;
    await send(new Uint8Array(61), new Uint8Array(62), new Uint8Array(63));
    expect(order.filter((line) => line.startsWith('first'))).toHaveLength(3);
    expect(order.filter((line) => !line.startsWith('first'))).toEqual([
      ...['second filter 62', 'second filter 63', 'hook 63'],
    ]);
    expect(port.written).toEqual([new Uint8Array(100), new Uint8Array(100)]);
    expect(vif.stats.fromGuest).toMatchObject({ frames: 2, bytes: 200, filtered: 2 });
  });

  it('ends when its registration is disposed of, also from within', async () => {
    let calls = 0;
    const filter = vif.filter(() => {
      calls++;
      filter[Symbol.dispose]();
      return 'drop';
    });
    await send(new Uint8Array(60), new Uint8Array(62));
    await send(new Uint8Array(61));
    expect(calls).toBe(1);
    expect(port.written).toEqual([new Uint8Array(62), new Uint8Array(61)]);
  });

  it('may add a hook, which begins with a batch whose frames it gets whole', async () => {
    const seen: Uint8Array[] = [];
    let isAdded = false;
    vif.filter(() => {
      if (!isAdded) {
        vif.hook(({ bytes }) => {
          seen.push(bytes.slice());
          return 'pass';
        });
      }
      isAdded = true;
      return 'pass';
    });
    const frames = [1, 2].map((fill) => new Uint8Array(1000).fill(fill));
    await send(frames[0]);
    await send(frames[1]);
    expect(port.written).toEqual(frames);
    expect(seen).toEqual([frames[1]]);
  });

  it('may detach the guest: the next backend ends the batch, and each frame is sent once', async () => {
    let ended: Promise<void> | undefined;
    vif.filter(() => {
      ended ??= world.netback[Symbol.asyncDispose]();
      return 'pass';
    });
    const frames = [60, 61].map((size) => new Uint8Array(size).fill(size));
    await send(...frames);
    expect(ended).toBeDefined();
    await ended;
    expect(errors()).toEqual([]);
    expect(vif.stats.fromGuest).toMatchObject({ dropped: 0, hookErrors: 0 });
    expect(guest.txResponses()).toEqual([]);
    await world.start(payload, [], { port: () => port });
    await world.settle();
    expect(port.written).toEqual(frames);
    expect(guest.txResponses().map(({ status }) => status)).toEqual([0, 0]);
  });
});

describe('a filter', () => {
  let hypervisor: ModelHypervisor;
  let world: World;
  let guest: RawGuest;
  beforeEach(async () => {
    hypervisor = new ModelHypervisor();
    world = await World.open(modelMachine(hypervisor));
    guest = await world.guest(7);
  });
  afterEach(() => world.close());

  const vif = () => world.netback.vifs.get('vif7.0')!;
  const errors = () => world.errors.map(({ code, message }) => `${code} ${message}`);
  const send = async (frames: number) => {
    for (let i = 0; i < frames; i++) {
      guest.send([{ size: 60 }]);
      await world.settle();
    }
  };

  it.each<[string, () => unknown, string]>([
    ['undefined', () => undefined, 'undefined'],
    ['a typo', () => 'Drop', "'Drop'"],
    ['the bytes of a frame, which only a hook may return', () => new Uint8Array(60), 'a Uint8Array'],
    ['a boolean', () => true, 'true'],
    ['a promise', () => Promise.resolve('pass'), 'a promise'],
  ])('that returns %s loses the frame, which is counted and reported once', async (_, body, returned) => {
    await world.start('copy', [guest]);
    using _filter = vif().filter(wrong('firewall', body));
    await send(3);
    expect(errors()).toHaveLength(1);
    expect(errors()[0]).toContain(
      `ERR_HOOK vif7.0: Filter firewall returned ${returned} instead of 'pass' or 'drop': such frames are dropped.`,
    );
    expect(errors()[0].endsWith('A filter cannot be async: it returns its verdict at once.')).toBe(
      returned === 'a promise',
    );
    expect(world.port('vif7.0').written).toEqual([]);
    expect(vif().stats.fromGuest).toMatchObject({ frames: 0, filtered: 0, dropped: 0, hookErrors: 3 });
    expect(vif().state).toBe('connected');
  });

  it('of the whole netback sees each vif, before the filters of the vif, and is named as the program named it', async () => {
    const order: string[] = [];
    await world.start('copy', [guest], {
      filter: function everyVif(frame, direction, { id, mac }) {
        order.push(`${id} ${mac} ${direction}`);
        return frame.length === 70 ? (undefined as never) : 'pass';
      },
    });
    vif().filter(() => {
      order.push('own');
      return 'pass';
    });
    await send(1);
    expect(order).toEqual([`vif7.0 ${vif().mac} from-guest`, 'own']);
    guest.send([{ size: 70 }]);
    await world.settle();
    expect(errors()).toEqual([
      expect.stringMatching(/^ERR_HOOK vif7\.0: Filter everyVif returned undefined/),
    ]);
  });

  it('without a name is reported as such', async () => {
    await world.start('copy', [guest]);
    using _filter = vif().filter(wrong('', () => undefined));
    await send(1);
    expect(errors()).toEqual([expect.stringContaining('A filter without a name returned undefined')]);
  });

  it('finds no frame in what it stored, once it has returned', async () => {
    await world.start('copy', [guest]);
    const stored: FrameHeaders[] = [];
    using _filter = vif().filter((frame) => {
      stored.push(frame);
      return 'pass';
    });
    await send(1);
    const [frame] = stored;
    expect(frame).toMatchObject({ length: 0, readable: 0, csumStart: 0, csumOffset: 0, gsoSize: 0 });
    expect(frame.gsoType).toBe('none');
    for (const read of [() => frame.u8(0), () => frame.u16(0), () => frame.u32(0), () => frame.i32(0)])
      expect(read).toThrow('A frame can be read only until the filter returns');
    await send(1);
    expect(stored[1]).toBe(frame);
    expect(frame.length).toBe(0);
  });

  it('that is always slow is reported once, by the 16th batch that follows quick ones', async () => {
    await world.start('copy', [guest]);
    const { clock } = world.backend;
    const real = clock.now.bind(clock);
    let passedMs = 0;
    let takesMs = 0;
    Object.assign(clock, { now: () => real() + passedMs });
    vif().filter(() => {
      passedMs += takesMs;
      return 'pass';
    });
    await send(1);
    takesMs = 500;
    await send(16);
    expect(errors()).toEqual([expect.stringMatching(/^ERR_HOOK vif7\.0: Hooks took 500 ms for 1 frame, /)]);
    await send(40);
    expect(errors()).toHaveLength(1);
    expect(vif().stats.fromGuest.frames).toBe(57);
  });

  it('that detaches the guest, with the journal that has the frames’ memory, reads nothing of it', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'vifd-filters-'));
    try {
      world.journals = journalFiles(directory);
      await world.start('copy', [guest]);
      const served = vif();
      let ended: Promise<void> | undefined;
      let read: unknown = 'nothing';
      served.filter((frame) => {
        ended ??= world.netback[Symbol.asyncDispose]();
        read = frame.u8(0);
        return 'pass';
      });
      guest.post([guest.ref(0)]);
      world.port('vif7.0').put(new Uint8Array(60));
      await world.settle();
      await ended;
      expect(read).toBe('nothing');
      expect(served.stats.toGuest).toMatchObject({ frames: 0, drops: { detached: 1 }, hookErrors: 0 });
    } finally {
      await world.stop();
      rmSync(directory, { recursive: true });
    }
  });
});

/** Frames in a batch, one behind the other, whose bytes are all different from their neighbours'. */
class Frames {
  readonly batch: FrameBatch;
  readonly hooks: Hooks;
  readonly counters = new FlowCounters();
  readonly errors: VifdError[] = [];

  constructor(lengths: readonly number[]) {
    const bytes = new Uint8Array(lengths.length * 2048 + 2 * 65536);
    this.batch = new FrameBatch({ bytes, u32: new Uint32Array(bytes.buffer) }, lengths.length);
    this.batch.count = lengths.length;
    // Never 0, which a read that invents bytes would return.
    for (let i = 0; i < bytes.length; i++) bytes[i] = 1 + ((i * 167 + (i >>> 8)) % 255);
    let place = 18;
    for (const [i, length] of lengths.entries()) {
      this.#word(i, FRAME_OFFSET, place);
      this.#word(i, FRAME_LENGTH, length);
      this.offload(i, [0, 0, 0]);
      place += 12 + length + ((length * 7) % 3) * 2 + (length % 2);
    }
    this.hooks = new Hooks({ now: () => 0, after: () => ({ [Symbol.dispose]() {} }) }, (error) =>
      this.errors.push(error),
    );
  }

  run(): boolean {
    return this.hooks.run(this.batch, 'from-guest', this.counters);
  }

  offload(index: number, header: readonly number[]): void {
    const { arena, block } = this.batch;
    const at = block[frameAt(index) + FRAME_OFFSET] - 12;
    arena.bytes.set(new Uint8Array(Uint32Array.from(header).buffer), at);
  }

  #word(index: number, field: number, value: number): void {
    this.batch.block[frameAt(index) + field] = value;
  }
}

describe('the frame of a filter', () => {
  const length = fc.integer({ min: 14, max: 700 });
  const place = fc.oneof(
    fc.integer({ min: -4, max: 704 }),
    fc.integer({ min: 270, max: 284 }),
    fc.constantFrom(-1, 0.5, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 32, 2 ** 32 + 12, -(2 ** 32)),
    fc.constantFrom<unknown[]>('0', undefined, null, true, [], {}),
  ) as fc.Arbitrary<number>;

  it('reads what a DataView reads of the hook’s bytes, and throws for all that is not wholly within them', () => {
    fc.assert(
      fc.property(fc.array(length, { minLength: 1, maxLength: 6 }), fc.array(place), (lengths, places) => {
        const frames = new Frames(lengths);
        const read: unknown[][] = [];
        frames.hooks.addFilter((frame) => {
          const found = places.map((at) =>
            [frame.u8, frame.u16, frame.u32, frame.i32].map((f) => outcome(f, frame, at)),
          );
          read.push([frame.length, frame.readable, ...found]);
          return 'pass';
        });
        const wanted: unknown[][] = [];
        frames.hooks.add(({ bytes }) => {
          const view = new DataView(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, READABLE_MAX));
          const found = places.map((at) =>
            [view.getUint8, view.getUint16, view.getUint32, view.getInt32].map((f) =>
              Number.isInteger(at) ? outcome(f, view, at) : 'RangeError',
            ),
          );
          wanted.push([bytes.length, view.byteLength, ...found]);
          return 'pass';
        });
        expect(frames.run()).toBe(true);
        expect(read).toEqual(wanted);
        expect(frames.errors).toEqual([]);
      }),
    );
  });

  function outcome(read: (at: number) => number, of: FrameHeaders | DataView, at: number): unknown {
    try {
      return read.call(of, at);
    } catch (error) {
      return (error as Error).name;
    }
  }

  it('is of the batch that it belongs to, while queues and directions take turns', () => {
    const batches = [[60], [70, 71], [80]].map((lengths) => new Frames(lengths));
    for (const [i, { batch }] of batches.entries()) batch.arena.bytes.fill(i + 1);
    const [{ hooks, counters }] = batches;
    const seen: string[] = [];
    hooks.addFilter((frame, direction) => {
      seen.push(`${direction} ${frame.u8(0)} ${frame.length}`);
      return 'pass';
    });
    const turns = [0, 1, 2, 1, 0, 0] as const;
    for (const turn of turns) {
      hooks.run(batches[turn].batch, 'from-guest', counters);
      hooks.run(batches[2 - turn].batch, 'to-guest', counters);
    }
    const lines = (direction: string, turn: number) =>
      [[60], [70, 71], [80]][turn].map((length) => `${direction} ${turn + 1} ${length}`);
    expect(seen).toEqual(
      turns.flatMap((turn) => [...lines('from-guest', turn), ...lines('to-guest', 2 - turn)]),
    );
  });

  it.each([
    ['no offload', [0, 0, 0]],
    ['a partial checksum', [VNET_FLAG_NEEDS_CSUM, 34 << 16, 16]],
    ['UDP segmentation', [VNET_FLAG_NEEDS_CSUM | (VNET_GSO_UDP_L4 << 8), 1200 | (34 << 16), 6]],
    ['TCP segmentation over IPv6', [VNET_FLAG_NEEDS_CSUM | (VNET_GSO_TCPV6 << 8), 1428 | (54 << 16), 16]],
    ['TCP segmentation with ECN', [VNET_FLAG_NEEDS_CSUM | (0x81 << 8), 1448 | (34 << 16), 16]],
  ])('has the offload that a hook sees: %s', (_, header) => {
    // The second frame's vnet header is not aligned to a word.
    const frames = new Frames([60, 61, 60]);
    for (const index of [0, 1, 2]) frames.offload(index, header);
    const seen: unknown[] = [];
    frames.hooks.addFilter(({ csumStart, csumOffset, gsoType, gsoSize }) => {
      seen.push({ csumStart, csumOffset, gsoType, gsoSize });
      return 'pass';
    });
    const wanted: unknown[] = [];
    frames.hooks.add(({ offload }) => {
      const { csumStart, csumOffset, gsoType, gsoSize } = offload;
      wanted.push({ csumStart, csumOffset, gsoType, gsoSize });
      return 'pass';
    });
    frames.run();
    expect(seen).toHaveLength(3);
    expect(seen).toEqual(wanted);
  });
});

describe('the hooks of a vif', () => {
  it('need whole frames only while there is a hook', () => {
    const { hooks } = new Frames([60]);
    expect([hooks.active, hooks.needsWholeFrames]).toEqual([false, false]);
    const filter = hooks.addFilter(() => 'pass');
    expect([hooks.active, hooks.needsWholeFrames]).toEqual([true, false]);
    const hook = hooks.add(() => 'pass');
    expect([hooks.active, hooks.needsWholeFrames]).toEqual([true, true]);
    hook[Symbol.dispose]();
    expect([hooks.active, hooks.needsWholeFrames]).toEqual([true, false]);
    filter[Symbol.dispose]();
    expect([hooks.active, hooks.needsWholeFrames]).toEqual([false, false]);
  });

  it.each<[string, boolean, (hooks: Hooks) => void]>([
    ['a filter passes all', true, (hooks) => hooks.addFilter(() => 'pass')],
    ['a hook passes all', true, (hooks) => hooks.add(() => 'pass')],
    [
      'a hook changes bytes in place',
      true,
      (hooks) => hooks.add(({ bytes }) => (bytes.fill(0).length > 0 ? 'pass' : 'drop')),
    ],
    ['a filter drops one', false, (hooks) => hooks.addFilter((f) => (f.length === 61 ? 'drop' : 'pass'))],
    ['a filter throws for one', false, (hooks) => hooks.addFilter((f) => (f.u8(60) > 0 ? 'pass' : 'drop'))],
    ['a hook drops one', false, (hooks) => hooks.add((f) => (f.bytes.length === 61 ? 'drop' : 'pass'))],
    ['a hook makes frames longer', false, (hooks) => hooks.add(() => new Uint8Array(90))],
  ])('report whether the frames and their lengths are unchanged: %s', (_, unchanged, add) => {
    const frames = new Frames([60, 61, 62]);
    add(frames.hooks);
    expect(frames.run()).toBe(unchanged);
  });
});

describe('the memory that a batch needs', () => {
  const PARTS = 50;
  const BATCHES_OF_PART = 10;
  const COMPILED_MS = 12_000;
  /** An address from 2^31 on is the kind of number that V8 stores in memory of its own, 16 bytes each. */
  const readsAll: FrameFilter = (frame) => {
    const transport = 14 + (frame.u8(14) & 0x0f) * 4;
    const isAllowed = frame.u16(12) === ETHERTYPE_IPV4 && frame.u16(transport + 2) !== 23;
    return isAllowed && frame.u32(26) !== frame.u32(30) && frame.gsoSize === 0 ? 'pass' : 'drop';
  };

  /** Calls more than V8 compiles into one function. */
  const READS = Array.from(
    { length: 40 },
    (_, i) => `frame.i32(26) !== ${i} && frame.u16(${i % 26}) >= 0`,
  ).join(' && ');
  const readsMuch = new Function('frame', `return ${READS} ? 'pass' : 'drop'`) as FrameFilter;

  /**
   * The bytes that V8 allocates for each frame: the least of several runs. V8 compiles what runs beside it, which takes longer on a busy
   * machine, so this takes COMPILED_MS unless a run needs less than `enough`.
   */
  function bytesPerFrame(add: (hooks: Hooks) => void, enough: number): number {
    const frames = new Frames(Array(64).fill(60));
    for (let i = 0; i < 64; i++)
      frames.batch.arena.bytes.set(tcpHeaders(60), frames.batch.block[frameAt(i) + FRAME_OFFSET]);
    add(frames.hooks);
    const began = performance.now();
    let least = Number.POSITIVE_INFINITY;
    for (let run = 0; run < 20 || (least >= enough && performance.now() - began < COMPILED_MS); run++) {
      let grown = 0;
      for (let part = 0; part < PARTS; part++) {
        const before = process.memoryUsage().heapUsed;
        for (let batch = 0; batch < BATCHES_OF_PART; batch++) frames.run();
        // A part in which V8 collected garbage has no figure.
        grown += Math.max(0, process.memoryUsage().heapUsed - before);
      }
      least = Math.min(least, grown / (PARTS * BATCHES_OF_PART * 64));
    }
    expect(frames.counters).toMatchObject({ filtered: 0, hookErrors: 0 });
    return least;
  }

  it('is none for each frame, with a filter, one that is long, or several', () => {
    expect(bytesPerFrame((hooks) => hooks.addFilter(readsAll), 2)).toBeLessThan(2);
    expect(bytesPerFrame((hooks) => hooks.addFilter(readsMuch), 2)).toBeLessThan(2);
    const several = (hooks: Hooks) => {
      hooks.addFilter((frame) => (frame.u32(26) === 0xc0a80102 ? 'pass' : 'drop'));
      hooks.addFilter(readsAll);
      hooks.addFilter((frame) => (frame.u32(26) !== frame.u32(30) ? 'pass' : 'drop'));
    };
    expect(bytesPerFrame(several, 2)).toBeLessThan(2);
  }, 60_000);

  it('is some for each frame with a hook, which this way of measuring finds', () => {
    const hook = ({ bytes }: Frame) => (bytes[12] === 8 ? 'pass' : 'drop');
    expect(bytesPerFrame((hooks) => hooks.add(hook), 200)).toBeGreaterThan(30);
  });
});
