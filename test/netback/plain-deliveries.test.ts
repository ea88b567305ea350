import * as fc from 'fast-check';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { layOutPlain as LayOutPlain } from '../../lib/netback/queue/to-guest-plain.js';
import type { layOutUsual as LayOutUsual } from '../../lib/netback/queue/to-guest-usual.js';
import { FRAME_LENGTH, FRAME_OFFSET, FRAMES_ALIGN, frameAt } from '../../lib/ports/frame-batch.js';
import { RX_SLOT_WORDS } from '../../lib/protocol/netif.js';
import {
  VNET_FLAG_NEEDS_CSUM,
  VNET_HEADER_BYTES,
  vnetFlags,
  vnetGsoType,
  vnetWord,
} from '../../lib/protocol/vnet.js';
import * as xen from '../../lib/xen/seam.js';
import { differing } from './differing.js';
import { build, load, type Round } from './to-guest-loads.js';
import { type Seen, Side } from './to-guest-side.js';

type Arguments = Parameters<typeof LayOutPlain>;
type UsualArguments = Parameters<typeof LayOutUsual>;

/** Whether all batches go the general way, and what sees each batch that could go the plain way, or the usual way. */
const ways = vi.hoisted(() => ({
  isGeneral: false,
  onLaidOut: (_args: Arguments, _isPlain: boolean): void => {},
  onUsual: (_args: UsualArguments, _isUsual: boolean): void => {},
}));

vi.mock('../../lib/netback/queue/to-guest-plain.js', async (load) => {
  const real = await load<typeof import('../../lib/netback/queue/to-guest-plain.js')>();
  const layOutPlain: typeof real.layOutPlain = (...args) => {
    const bytes = real.layOutPlain(...args);
    ways.onLaidOut(args, bytes !== real.NOT_PLAIN);
    return ways.isGeneral ? real.NOT_PLAIN : bytes;
  };
  return { ...real, layOutPlain };
});

vi.mock('../../lib/netback/queue/to-guest-usual.js', async (load) => {
  const real = await load<typeof import('../../lib/netback/queue/to-guest-usual.js')>();
  const layOutUsual: typeof real.layOutUsual = (...args) => {
    const isUsual = real.layOutUsual(...args);
    ways.onUsual(args, isUsual);
    return isUsual && !ways.isGeneral;
  };
  return { ...real, layOutUsual };
});

const { OP_ARENA, OP_HEAD, OP_REF, OP_SPAN, OP_WORDS, OPS_COUNT, OPS_HEADER_WORDS, PAGE_SIZE } = xen;
const NOISE = 0xa5a5_a5a5;

/** Overwrites all words of a plain batch, so that the general way, which follows, must write each of them. */
function spoil([ring, { count }, ops]: Arguments): void {
  ops[OPS_COUNT] = NOISE;
  for (let i = 0; i < count; i++) {
    for (const word of [OP_REF, OP_SPAN, OP_ARENA, OP_HEAD])
      ops[OPS_HEADER_WORDS + i * OP_WORDS + word] = NOISE;
  }
  ring.responses.fill(NOISE, 0, count * RX_SLOT_WORDS);
}

/** Overwrites all words of a usual batch, so that the general way must write each of them. */
function spoilUsual([ring, { frames, gsos }, first, end, requests, ops]: UsualArguments): void {
  const count = ops[OPS_COUNT];
  ops[OPS_COUNT] = NOISE;
  for (let op = 0; op < count; op++) {
    for (const word of [OP_REF, OP_SPAN, OP_ARENA, OP_HEAD])
      ops[OPS_HEADER_WORDS + op * OP_WORDS + word] = NOISE;
  }
  let extras = 0;
  for (let i = first; i < end; i++) {
    if (frames.block[frameAt(i) + FRAME_LENGTH] > 0 && gsos[i] !== 0) extras++;
  }
  ring.responses.fill(NOISE, 0, (count + extras) * RX_SLOT_WORDS);
  requests.fill(NOISE);
}

/** How often each situation occurred. */
const MET = {
  plain: {
    'at all': 0,
    'with partial checksums': 0,
    'with a page of bytes': 0,
    'over the end of the ring': 0,
    'over the end of the indices': 0,
    'behind a batch with GSO': 0,
    'behind hashed ones': 0,
    'that hooks passed': 0,
    'that the filter passed': 0,
    'of one of two queues': 0,
    'with frames whose grant failed': 0,
    'that stops the vif': 0,
    'that the host failed to copy': 0,
    'at a kill': 0,
  },
  usual: {
    'at all': 0,
    'with GSO': 0,
    'with several pages and no GSO': 0,
    'with frames of a page and GSO': 0,
    'of segments': 0,
    'with removed frames': 0,
    'with frames left for later': 0,
    'over the end of the ring': 0,
    'with frames whose grant failed': 0,
  },
  'not usual': { 'for hashes': 0 },
  general: {
    'for a removed frame': 0,
    'for a long frame': 0,
    'for a place of a frame': 0,
    'for GSO': 0,
    'for a checksum': 0,
    'for headroom': 0,
    'for hashes': 0,
    'for few buffers': 0,
  },
};
type Met = typeof MET;

/** Counts the situations of the side whose plain batches go the plain way. */
class Tally {
  readonly met: Met = structuredClone(MET);
  /** Whether the last batch that could go the plain way had GSO; whether the last batch was hashed. */
  #hadGso = false;
  #hadHashes = false;
  /** How many batches of the round could go the plain way, and how many did. */
  asked = 0;
  plain = 0;
  /** How many batches of the round went the usual way. */
  usual = 0;

  begin(): void {
    this.asked = 0;
    this.plain = 0;
    this.usual = 0;
  }

  batch(args: Arguments, isPlain: boolean, round: Round, queues: number): void {
    this.asked++;
    const reasons = framesOf(args).map((frame) => reasonOf(args, frame));
    if (isPlain) {
      this.plain++;
      this.#plainBatch(args, round, queues);
    } else {
      // A plain batch that goes the general way is as right, and slower.
      const general = reasons.filter((reason) => reason !== undefined);
      expect(general, 'a reason for the general way').not.toHaveLength(0);
      for (const reason of general) this.met.general[reason]++;
    }
    this.#hadGso = reasons.includes('for GSO');
  }

  #plainBatch(args: Arguments, round: Round, queues: number): void {
    const { plain } = this.met;
    const [ring, { arena, count }] = args;
    const frames = framesOf(args);
    plain['at all']++;
    if (frames.some(([offset]) => (vnetWord(arena.u32, offset, 0) & VNET_FLAG_NEEDS_CSUM) !== 0))
      plain['with partial checksums']++;
    if (frames.some(([, length]) => length === PAGE_SIZE)) plain['with a page of bytes']++;
    if (ring.nextWord + count * RX_SLOT_WORDS > ring.slots.length) plain['over the end of the ring']++;
    if (ring.requestsTaken + count > 0xffff_ffff) plain['over the end of the indices']++;
    if (this.#hadGso) plain['behind a batch with GSO']++;
    if (this.#hadHashes) plain['behind hashed ones']++;
    this.#hadHashes = false;
    if (round.hook) plain['that hooks passed']++;
    if (round.filter) plain['that the filter passed']++;
    if (queues > 1) plain['of one of two queues']++;
  }

  usualBatch([ring, { frames, gsos, hashTypes }, first, end, , ops]: UsualArguments, isUsual: boolean): void {
    const { usual } = this.met;
    const lengths = Array.from(
      { length: end - first },
      (_, i) => frames.block[frameAt(first + i) + FRAME_LENGTH],
    );
    if (!isUsual) {
      expect(lengths.some((length, i) => length > 0 && hashTypes[first + i] !== 0)).toBe(true);
      this.met['not usual']['for hashes']++;
      return;
    }
    this.usual++;
    usual['at all']++;
    const some = (is: (length: number, gso: number) => boolean) =>
      lengths.some((length, i) => length > 0 && is(length, gsos[first + i]));
    if (some((_, gso) => gso !== 0)) usual['with GSO']++;
    if (some((length, gso) => gso === 0 && length > PAGE_SIZE)) usual['with several pages and no GSO']++;
    if (some((length, gso) => gso !== 0 && length <= PAGE_SIZE)) usual['with frames of a page and GSO']++;
    if (frames.block[FRAMES_ALIGN] !== PAGE_SIZE) usual['of segments']++;
    if (lengths.includes(0)) usual['with removed frames']++;
    if (end < frames.count) usual['with frames left for later']++;
    if (ring.nextWord + ops[OPS_COUNT] * RX_SLOT_WORDS > ring.slots.length)
      usual['over the end of the ring']++;
  }

  /** @param reads batches of the round. */
  end(round: Round, side: Side, reads: number, seen: Seen, errors: number): void {
    const { plain, general } = this.met;
    const others = reads - this.asked;
    if (side.hash.active && reads > 0) this.#hadHashes = true;
    if (round.headroom > 0) general['for headroom'] += others;
    else if (side.hash.active) general['for hashes'] += others;
    else general['for few buffers'] += others;
    if (errors > 0 && this.usual > 0 && this.plain === 0) this.met.usual['with frames whose grant failed']++;
    if (reads !== this.plain) return;
    if (errors > 0) plain['with frames whose grant failed']++;
    if (seen.isStopped) plain['that stops the vif']++;
    if (seen.turns.some((turn) => turn.includes('fault'))) plain['that the host failed to copy']++;
    if (seen.turns.includes('killed')) plain['at a kill']++;
  }
}

/** Offsets and lengths. */
function framesOf([, { block, count }]: Arguments): [number, number][] {
  return Array.from({ length: count }, (_, i) => {
    const at = frameAt(i);
    return [block[at + FRAME_OFFSET], block[at + FRAME_LENGTH]];
  });
}

/** @returns why the frame is not plain, but for its checksum, which may be usual; undefined if nothing else is special. */
function reasonOf(
  [, { arena }]: Arguments,
  [offset, length]: readonly [number, number],
): keyof Met['general'] | undefined {
  if (length === 0) return 'for a removed frame';
  if (length > PAGE_SIZE) return 'for a long frame';
  if (offset % 4 !== 0) return 'for a place of a frame';
  const first = vnetWord(arena.u32, offset, 0);
  if (vnetGsoType(first) !== 0) return 'for GSO';
  return (vnetFlags(first) & VNET_FLAG_NEEDS_CSUM) !== 0 ? 'for a checksum' : undefined;
}

describe('a batch of plain or usual frames', () => {
  beforeEach(() => {
    ways.isGeneral = false;
    ways.onLaidOut = () => {};
    ways.onUsual = () => {};
  });

  it('leaves the same in rings, guest, operations, journals and counters as by the general way', () => {
    const tally = new Tally();
    fc.assert(
      fc.property(load, (load) => {
        const fast = new Side(load);
        const general = new Side(load);
        for (const round of load.rounds) {
          const frames = round.frames.map((sent) => ({ bytes: build(sent), shift: sent.shift }));
          const before = { reads: fast.reads, errors: fast.errors };
          tally.begin();
          ways.isGeneral = false;
          ways.onLaidOut = (args, isPlain) => tally.batch(args, isPlain, round, load.queues);
          ways.onUsual = (args, isUsual) => tally.usualBatch(args, isUsual);
          const one = fast.round(round, frames);
          tally.end(round, fast, fast.reads - before.reads, one, fast.errors - before.errors);
          ways.isGeneral = true;
          ways.onLaidOut = (args, isPlain) => isPlain && spoil(args);
          ways.onUsual = (args, isUsual) => isUsual && spoilUsual(args);
          const other = general.round(round, frames);
          expect(differing(one, other)).toEqual([]);
          if (one.isStopped) break;
        }
      }),
      { numRuns: 400 },
    );
    for (const [way, met] of Object.entries(tally.met)) {
      for (const [what, times] of Object.entries(met)) expect(times, `${way} ${what}`).toBeGreaterThan(2);
    }
  }, 60_000);

  it('counts the frames that the guest has, and not those that it cannot take', () => {
    const guest = { scatterGather: false, checksumV4: true, checksumV6: false, gsoV4: false, gsoV6: false };
    const side = new Side({
      start: 0,
      queues: 1,
      rounds: [],
      grantFailsEvery: undefined,
      guest,
      portClears: false,
    });
    const round: Round = {
      ...{
        queue: 0,
        frames: [],
        buffers: 256,
        badBuffer: undefined,
        notifiesAt: 1,
        headroom: 0,
        hashes: undefined,
      },
      ...{ hook: false, filter: false, copyFails: 0, kill: undefined, advanceMs: 0 },
    };
    const frames = [60, 5000, 61].map((bytes) => ({
      bytes: new Uint8Array(VNET_HEADER_BYTES + bytes),
      shift: 0,
    }));
    const { counters } = side.round(round, frames);
    expect(counters).toMatchObject([{ frames: 2, bytes: 121, drops: { unsupported: 1 } }]);
  });
});
