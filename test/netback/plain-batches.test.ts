import * as fc from 'fast-check';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { DurableWords } from '../../lib/durable/durable-words.js';
import { CREDIT, MULTICAST } from '../../lib/durable/layout.js';
import { RedoLog } from '../../lib/durable/redo.js';
import { BATCH_SLOTS, newBatches } from '../../lib/netback/frames/batch-memory.js';
import { FlowCounters } from '../../lib/netback/frames/counters.js';
import { Hooks } from '../../lib/netback/frames/hooks.js';
import { Credit } from '../../lib/netback/guest/credit.js';
import { CreditTurns } from '../../lib/netback/guest/credit-turns.js';
import { MulticastFilter } from '../../lib/netback/guest/multicast.js';
import { FromGuest } from '../../lib/netback/queue/from-guest.js';
import { BackRing } from '../../lib/netback/ring/back-ring.js';
import * as batch from '../../lib/ports/frame-batch.js';
import type { PortIo } from '../../lib/ports/port.js';
import * as netif from '../../lib/protocol/netif.js';
import { TX_RING } from '../../lib/protocol/ring.js';
import { VNET_HEADER_BYTES } from '../../lib/protocol/vnet.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { OP_WORDS, OPS_COUNT, OPS_FAILED, OPS_HEADER_WORDS } from '../../lib/xen/seam.js';
import { differing } from './differing.js';

/** The ways of the round's batches: `layOutPlain` and `layOutUsual` have laid them out, or none has and they were asked for it. */
const ways = vi.hoisted(() => ({ plain: 0, usual: 0, asked: 0 }));

vi.mock('../../lib/netback/queue/from-guest-plain.js', async (load) => {
  const real = await load<typeof import('../../lib/netback/queue/from-guest-plain.js')>();
  const layOutPlain: typeof real.layOutPlain = (...args) => {
    const bytes = real.layOutPlain(...args);
    ways.asked++;
    if (bytes !== real.NOT_PLAIN) ways.plain++;
    return bytes;
  };
  return { ...real, layOutPlain };
});

vi.mock('../../lib/netback/queue/from-guest-usual.js', async (load) => {
  const real = await load<typeof import('../../lib/netback/queue/from-guest-usual.js')>();
  const layOutUsual: typeof real.layOutUsual = (...args) => {
    const bytes = real.layOutUsual(...args);
    if (bytes !== real.NOT_USUAL) ways.usual++;
    return bytes;
  };
  return { ...real, layOutUsual };
});

const { FRAMES_COUNT, FRAMES_ERRNO, FRAMES_HEADER_WORDS, FRAME_LENGTH, FRAME_OFFSET, FRAME_STATUS } = batch;
const { RING_HEADER_WORDS, RING_REQ_PROD, RING_RSP_EVENT, RING_RSP_PROD } = netif;
const { TX_FLAG_CSUM_BLANK, TX_FLAG_DATA_VALIDATED, TX_FLAG_EXTRA_INFO, TX_FLAG_MORE_DATA } = netif;
const GUEST = 7;
const PAGES = 8;
const EINVAL = 22;
/** Where in each page frames with headers begin: of a kind each (`HEADERS`), at what Linux does and does not align. */
const PLACES = [0, 66, 256, 514, 1026, 2051, 3000, 4000];

/** The beginning of a frame: TCP or UDP over IPv4 that is 60 bytes long, with a VLAN tag, with a wrong length, and IPv6. */
const HEADERS = [
  ipv4(6, 46),
  ipv4(17, 46),
  ipv4(6, 0),
  ipv4(6, 4000),
  ipv4(6, 46, 0x2000),
  [...Array(12).fill(2), 0x81, 0, 0, 5, ...ipv4(17, 46).slice(12)],
  [...Array(12).fill(2), 0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64, ...Array(32).fill(3)],
  ipv4(1, 46),
];

function ipv4(protocol: number, length: number, fragment = 0): number[] {
  const words = [length, 0, fragment].flatMap((word) => [word >>> 8, word & 0xff]);
  return [...Array(12).fill(2), 8, 0, 0x45, 0, ...words, 64, protocol, 0, 0, ...Array(8).fill(10)];
}

/** The words of a slot. The first is a page, PAGES for a grant that is not there, or EXTRA and the word itself. */
type Slot = readonly [number, number, number];
const EXTRA = 2 ** 32;

interface Plan {
  readonly start: number;
  /** Slots that the guest publishes at once. */
  readonly rounds: readonly (readonly Slot[])[];
  readonly notifiesAt: number;
  readonly grantFailsEvery: number | undefined;
  readonly copyFailsEvery: number | undefined;
  readonly portFailsEvery: number | undefined;
}

/** What a round wrote, of everything that another process, the guest or the port may read. */
interface Seen {
  /** Operations, frames with vnet headers, and how turns ended. */
  readonly batches: readonly unknown[];
  readonly page: readonly number[];
  readonly log: readonly number[];
  readonly counters: object;
  readonly notified: number;
  readonly goesOn: boolean;
}

/** A guest and its from-guest path, on a hypervisor of their own. */
class Side {
  readonly counters = new FlowCounters();
  readonly credit = new Credit(DurableWords.ofProcess(CREDIT.words));
  readonly #refs: readonly number[];
  readonly #page = new Uint8Array(netif.RING_PAGE_BYTES);
  readonly #words = new Uint32Array(this.#page.buffer);
  readonly #log = new Uint32Array(RedoLog.words(BATCH_SLOTS, TX_RING.responseWords));
  readonly #fromGuest: FromGuest;
  readonly #batches: unknown[] = [];
  #notified = 0;
  #copies = 0;
  #frames = 0;
  /** Batches with an operation that failed. */
  failures = 0;

  /** @param rate limits the guest, which makes all batches go the general way; it allows more than any batch has. */
  constructor(plan: Plan, rate: boolean) {
    const { grantFailsEvery, copyFailsEvery, portFailsEvery } = plan;
    const copyFails = () => copyFailsEvery !== undefined && ++this.#copies % copyFailsEvery === 0;
    const host = (call: string) => (call === 'copy' && copyFails() ? 'ENOMEM' : undefined);
    const faults = { host, ...(grantFailsEvery === undefined ? {} : { grantFailsEvery }) };
    const hypervisor = new ModelHypervisor({ seed: 1, faults });
    const backend = hypervisor.open(0);
    const pages = hypervisor.open(GUEST).shares!.allocate(PAGES);
    fillPages(pages.bytes);
    this.#refs = Array.from({ length: PAGES }, (_, page) => pages.grant(page, 0, 'read'));
    for (const word of [RING_REQ_PROD, RING_RSP_PROD]) this.#words[word] = plan.start;
    this.#words[RING_RSP_EVENT] = plan.start + plan.notifiesAt;
    const ring = new BackRing(
      this.#page,
      TX_RING,
      new RedoLog(new DurableWords(this.#log), TX_RING.responseWords),
    );
    expect(ring.attach()).toBe(true);
    if (rate) this.credit.limit({ bytes: 0xffff_ffff, intervalMs: 1000 }, backend.clock.now());
    const { fromGuest: frames } = newBatches((bytes) => backend.grants.arena(bytes));
    const hooks = new Hooks(backend.clock, (error) => expect.unreachable(error.message));
    this.#fromGuest = new FromGuest({
      ...{ ring, frames, grants: backend.grants, domid: GUEST, payload: 'copy', hooks },
      multicast: new MulticastFilter(DurableWords.ofProcess(MULTICAST.words)),
      credit: new CreditTurns(this.credit).of(0),
      clock: backend.clock,
      counters: this.counters,
    });
    this.#watch();
    this.#fromGuest.start(this.#port(portFailsEvery), false);
  }

  /** Records the operations before and after each copy. */
  #watch(): void {
    const { grants } = this.#fromGuest;
    const copyFromGuest = grants.copyFromGuest.bind(grants);
    const { ops } = grants;
    const record = () =>
      this.#batches.push([...ops.subarray(0, OPS_HEADER_WORDS + ops[OPS_COUNT] * OP_WORDS)]);
    grants.copyFromGuest = () => {
      record();
      copyFromGuest();
      record();
    };
  }

  publish(slots: Plan['rounds'][number]): void {
    let index = this.#words[RING_REQ_PROD];
    for (const [page, middle, last] of slots) {
      const at = RING_HEADER_WORDS + (index & (TX_RING.size - 1)) * netif.TX_SLOT_WORDS;
      this.#words.set([page >= EXTRA ? page - EXTRA : (this.#refs[page] ?? 0xffff), middle, last], at);
      index = (index + 1) >>> 0;
    }
    this.#words[RING_REQ_PROD] = index;
  }

  /** Publishes `slots` and pumps until the ring is empty or broken. */
  round(slots: Plan['rounds'][number]): Seen {
    this.publish(slots);
    this.#batches.length = 0;
    let result = '';
    for (let turn = 0; turn < 20 && !/^(idle|stop)/.test(result); turn++) result = this.pump();
    expect(result).toMatch(/^(idle|stop)/);
    return {
      batches: [...this.#batches],
      page: [...this.#words],
      log: [...this.#log],
      counters: this.counters.snapshot(),
      notified: this.#notified,
      goesOn: result === 'idle',
    };
  }

  /** @returns how the turn ended. */
  pump(): string {
    const result = this.#fromGuest.pump(() => void this.#notified++);
    const text = typeof result === 'string' ? result : Object.entries(result).flat().join(': ');
    this.#batches.push(text);
    return text;
  }

  /** Records the operations, the frames' words, vnet headers and bytes of each batch. */
  #port(failsEvery: number | undefined): PortIo {
    return {
      write: () => {
        const { block, arena, count } = this.#fromGuest.frames;
        const { ops } = this.#fromGuest.grants;
        if (ops[OPS_FAILED] !== 0) this.failures++;
        block[FRAMES_ERRNO] = 0;
        for (let i = 0; i < count; i++) {
          const at = batch.frameAt(i);
          const [offset, length] = [block[at + FRAME_OFFSET], block[at + FRAME_LENGTH]];
          const bytes = length === 0 ? [] : arena.bytes.slice(offset - VNET_HEADER_BYTES, offset + length);
          this.#batches.push([offset, length, Buffer.from(bytes).toString('hex')]);
          const fails = failsEvery !== undefined && ++this.#frames % failsEvery === 0;
          block[at + FRAME_STATUS] = fails ? EINVAL : 0;
          if (fails) block[FRAMES_ERRNO] = EINVAL;
        }
        this.#batches.push([...block.subarray(0, FRAMES_HEADER_WORDS)], block[FRAMES_COUNT]);
        return count;
      },
      read: () => 0,
      wantReadable: () => {},
      close: () => {},
    };
  }
}

function fillPages(bytes: Uint8Array): void {
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 31 + (i >> 12) * 7) & 0xff;
  for (let page = 0; page < PAGES; page++) {
    for (const [kind, place] of PLACES.entries())
      bytes.set(HEADERS[(kind + page) % HEADERS.length], page * 4096 + place);
  }
}

const id = fc.nat(0xffff);
const word = fc.integer({ min: 0, max: 0xffff_ffff });
const page = fc.nat(PAGES - 1);

function slot(
  page: number,
  offset: number,
  flags: number,
  id: number,
  size: number,
): [number, number, number] {
  return [page, (offset | (flags << 16)) >>> 0, (id | (size << 16)) >>> 0];
}

/** Flags that a frame of one slot can have, those that netif.h does not have among them. */
const plainFlags = fc.constantFrom(
  ...[0, TX_FLAG_CSUM_BLANK, TX_FLAG_DATA_VALIDATED, TX_FLAG_CSUM_BLANK | TX_FLAG_DATA_VALIDATED],
  ...[0xfff0, 0xfff0 | TX_FLAG_CSUM_BLANK],
);
const plainSlot = fc
  .tuple(
    page,
    fc.constantFrom(...PLACES, 1, 4082),
    plainFlags,
    id,
    fc.constantFrom(14, 33, 42, 60, 61, 1514, 4096),
  )
  .map(([page, offset, flags, id, size]) => slot(page, offset, flags, id, Math.min(size, 4096 - offset)));
const oddSlot = fc.oneof(
  fc.tuple(page, id, fc.nat(14)).map(([page, id, size]) => slot(page, 0, 0, id, size)),
  fc
    .tuple(page, id, fc.integer({ min: -1, max: 2 }))
    .map(([page, id, more]) => slot(page, 4000, 0, id, 96 + more)),
  fc.tuple(page, id).map(([page, id]) => slot(page, 0, TX_FLAG_MORE_DATA, id, 100)),
  fc.tuple(page, id).map(([page, id]) => slot(page, 0, TX_FLAG_EXTRA_INFO, id, 100)),
  id.map((id) => slot(PAGES, 0, 0, id, 60)),
  fc.tuple(page, word, word),
);
/** So that more is spent on laying frames at pages than there is. */
const longSlot = fc.tuple(page, plainFlags, id).map(([page, flags, id]) => slot(page, 0, flags, id, 4096));

/** Extra info of GSO, of which all is sound that Linux's netback looks at. The rest may be anything. */
const gsoSlot = fc
  .tuple(fc.constantFrom(1, 2), fc.constantFrom(1448, 536, 1, 0xffff), word)
  .map(([type, size, rest]) => extra(netif.EXTRA_TYPE_GSO | (size << 16), (rest & 0xffff_ff00) | type, rest));
/** Extra info of other kinds, with flags, and of GSO that cannot be. */
const oddExtra = fc.oneof(
  fc
    .tuple(fc.nat(6), fc.nat(3), word, word)
    .map(([type, flags, middle, last]) => extra(type | (flags << 8) | (1448 << 16), middle, last)),
  fc
    .tuple(fc.constantFrom(1, 3), fc.constantFrom(1, 2))
    .map(([flags, type]) => extra(netif.EXTRA_TYPE_GSO | (flags << 8) | (1448 << 16), type, 0)),
  fc.constantFrom(0, 3, 0xff).map((type) => extra(netif.EXTRA_TYPE_GSO | (1448 << 16), type, 0)),
  fc.constant(extra(netif.EXTRA_TYPE_GSO, 1, 0)),
);

/** Of the second kind of slot, which has no grant: `head` is its first word. */
function extra(head: number, middle: number, last: number): Slot {
  return [EXTRA + (head >>> 0), middle >>> 0, last >>> 0];
}

/** A slot behind the first: offset and length. */
const piece = fc.oneof(
  fc.constant([0, 4096] as const),
  fc
    .tuple(fc.nat(4095), fc.constantFrom(1, 60, 1000, 4096))
    .map(([at, length]) => [at, Math.min(length, 4096 - at)] as const),
);
const shortPiece = fc.nat(4000).map((at) => [at, 60] as const);
const firstPiece = fc
  .tuple(fc.constantFrom(...PLACES, 1, 4082), fc.constantFrom(1, 13, 14, 54, 66, 1514, 4096))
  .map(([at, length]) => [at, Math.min(length, 4096 - at)] as const);

/** The slots of a frame whose first slot's size is by `wrong` not what its slots have. */
const chain = (
  pieces: fc.Arbitrary<readonly (readonly [number, number])[]>,
  extras: fc.Arbitrary<Slot[]>,
  wrong: fc.Arbitrary<number>,
): fc.Arbitrary<Slot[]> =>
  fc
    .record({ page, id, flags: plainFlags, first: firstPiece, pieces, extras, wrong })
    .map(({ page, id, flags, first: [at, length], pieces, extras, wrong }) => {
      const more = (isLast: boolean) => (isLast ? 0 : TX_FLAG_MORE_DATA);
      const size = pieces.reduce((sum, [, bytes]) => sum + bytes, length) + wrong;
      const firstFlags = flags | more(pieces.length === 0) | (extras.length > 0 ? TX_FLAG_EXTRA_INFO : 0);
      const rest = pieces.map(([offset, bytes], i) =>
        slot((page + i) % PAGES, offset, more(i === pieces.length - 1), (id + i + 1) & 0xffff, bytes),
      );
      return [slot(page, at, firstFlags, id, Math.min(Math.max(size, 0), 0xffff)), ...extras, ...rest];
    });

const oneGso = fc.oneof(fc.constant<Slot[]>([]), fc.tuple(gsoSlot));
const none = fc.constant(0);
const usualFrame = fc.oneof(
  { weight: 3, arbitrary: chain(fc.array(piece, { maxLength: 4 }), oneGso, none) },
  // As BenchGuest has them: most batches end in the middle of one.
  {
    weight: 1,
    arbitrary: chain(
      fc.array(fc.constant([0, 3600] as const), { minLength: 14, maxLength: 17 }),
      oneGso,
      none,
    ),
  },
);
/** Frames of which one thing is not usual, most of which are the guest's errors. */
const oddFrame = fc.oneof(
  chain(
    fc.array(piece, { minLength: 1, maxLength: 4 }),
    oneGso,
    fc.constantFrom(-5000, -60, -14, -1, 1, 5000),
  ),
  chain(
    fc.array(piece, { maxLength: 2 }),
    fc.array(fc.oneof(oddExtra, gsoSlot), { minLength: 1, maxLength: 3 }),
    none,
  ),
  chain(fc.array(piece, { maxLength: 2 }), fc.tuple(oddExtra), none),
  // More slots than Linux's netback sends, and than it accepts.
  chain(fc.array(fc.constant([0, 60] as const), { minLength: 17, maxLength: 23 }), oneGso, none),
  chain(
    fc.array(fc.constantFrom([0, 0] as const, [9, 100] as const), { minLength: 1, maxLength: 4 }),
    oneGso,
    none,
  ),
  chain(fc.tuple(fc.constantFrom([4000, 97] as const, [1, 4096] as const)), oneGso, none),
  oddSlot.map((one) => [one] as Slot[]),
);
const frames = (frame: fc.Arbitrary<readonly Slot[]>, minLength: number, maxLength: number) =>
  fc.array(frame, { minLength, maxLength }).map((all) => all.flat());
const onePlain = plainSlot.map((one) => [one] as Slot[]);

/** Mostly plain or usual; up to two batches. */
const round: fc.Arbitrary<readonly Slot[]> = fc.oneof(
  fc.array(plainSlot, { minLength: 1, maxLength: BATCH_SLOTS + 40, size: 'max' }),
  fc.array(plainSlot, { minLength: 1, maxLength: 12 }),
  fc.array(fc.oneof(longSlot, longSlot, plainSlot), { minLength: 20, maxLength: 40 }),
  fc
    .tuple(fc.array(plainSlot, { maxLength: 12 }), oddSlot, fc.array(plainSlot, { maxLength: 12 }))
    .map(([before, odd, after]) => [...before, odd, ...after]),
  frames(fc.oneof(usualFrame, usualFrame, onePlain), 1, 8),
  // So that more is spent on padding than there is.
  frames(chain(fc.tuple(shortPiece), fc.constant([]), none), 45, 60),
  frames(usualFrame, 8, 30).map((slots) => slots.slice(0, TX_RING.size)),
  fc
    .tuple(frames(fc.oneof(usualFrame, onePlain), 0, 5), oddFrame, frames(usualFrame, 0, 3))
    .map((parts) => parts.flat()),
);
const every = (min: number, max: number) => fc.option(fc.integer({ min, max }), { nil: undefined, freq: 2 });
const plan: fc.Arbitrary<Plan> = fc.record({
  start: fc.oneof(fc.constantFrom(0, 0xffff_ffff, 0x7fff_ffff), word),
  rounds: fc.array(round, { minLength: 1, maxLength: 4 }),
  notifiesAt: fc.integer({ min: 1, max: 60 }),
  grantFailsEvery: every(3, 40),
  copyFailsEvery: every(2, 5),
  portFailsEvery: every(3, 40),
});

const UNDISTURBED: Plan = {
  start: 0,
  rounds: [],
  notifiesAt: 1,
  grantFailsEvery: undefined,
  copyFailsEvery: undefined,
  portFailsEvery: undefined,
};

describe('a batch of plain or usual frames', () => {
  beforeEach(() => {
    Object.assign(ways, { plain: 0, usual: 0, asked: 0 });
  });

  it('has the same operations, frames, vnet headers, responses, log and counts as by the general way', () => {
    const met = {
      plain: { 'at all': 0, 'with failed operations': 0, 'with dropped frames': 0 },
      usual: { 'at all': 0, 'with failed operations': 0, 'with dropped frames': 0, 'in several batches': 0 },
      general: { 'at all': 0, 'that stops the vif': 0 },
    };
    fc.assert(
      fc.property(plan, (plan) => {
        const fast = new Side(plan, false);
        const general = new Side(plan, true);
        for (const slots of plan.rounds) {
          const before = { failures: fast.failures, dropped: fast.counters.dropped };
          Object.assign(ways, { plain: 0, usual: 0, asked: 0 });
          const one = fast.round(slots);
          const { plain, usual, asked } = ways;
          const way = plain === asked ? 'plain' : plain + usual === asked ? 'usual' : 'general';
          met[way]['at all']++;
          if (way !== 'general') {
            if (fast.failures > before.failures) met[way]['with failed operations']++;
            if (plan.portFailsEvery === undefined && fast.counters.dropped > before.dropped)
              met[way]['with dropped frames']++;
          } else if (!one.goesOn) met.general['that stops the vif']++;
          if (way === 'usual' && usual > 1) met.usual['in several batches']++;
          Object.assign(ways, { plain: 0, usual: 0, asked: 0 });
          const other = general.round(slots);
          expect(ways.asked).toBe(0);
          expect(differing(one, other)).toEqual([]);
          if (!one.goesOn) break;
        }
      }),
      { numRuns: 600 },
    );
    for (const [way, situations] of Object.entries(met)) {
      for (const [what, times] of Object.entries(situations))
        expect(times, `${way} ${what}`).toBeGreaterThan(5);
    }
  }, 60_000);

  it('does not wait for a rate that a batch before it exhausted and that has ended', () => {
    const side = new Side(UNDISTURBED, false);
    side.credit.limit({ bytes: 60, intervalMs: 1000 }, 0);
    const frames = Array.from({ length: 40 }, (_, i) => slot(0, 0, 0, i, 4096));
    side.publish(frames);
    expect(side.pump()).toMatch(/^waitMs/);
    expect(side.counters.frames).toBeLessThan(40);
    side.credit.limit(undefined, 0);
    expect(side.pump()).toBe('idle');
    expect(side.counters.frames).toBe(40);
  });
});
