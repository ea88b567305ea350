/**
 * Compares our rings with Xen's own macros: test/native/oracle/ring_oracle.c is compiled with libxen-dev's headers and does the same
 * operations. The pages are compared byte for byte after each step.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BackRing, RING_BROKEN } from '../../lib/netback/ring/back-ring.js';
import * as control from '../../lib/protocol/control.js';
import * as netif from '../../lib/protocol/netif.js';
import { type RingShape, RX_RING, TX_RING } from '../../lib/protocol/ring.js';
import { refuseRx, respondRx } from '../../lib/protocol/rx.js';
import { parseTx, TxFrames } from '../../lib/protocol/tx.js';
import { FrontRing } from '../../lib/testing/netfront/ring.js';
import type { SharedPages } from '../../lib/xen/seam.js';

const oracle = ['Release', 'Debug', 'asan']
  .map((build) => fileURLToPath(new URL(`../../build/${build}/ring_oracle`, import.meta.url)))
  .find((program) => existsSync(program));
const title =
  oracle === undefined
    ? "the wire, against Xen's headers (skipped: build/*/ring_oracle is missing; it needs libxen-dev and npm run build:native)"
    : "the wire, against Xen's headers";

/** @returns a line for each command. */
function ask(commands: readonly string[]): string[] {
  const { status, stdout, stderr } = spawnSync(oracle!, {
    input: `${commands.join('\n')}\n`,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) throw new Error(`ring_oracle ended with ${status}: ${stderr}`);
  return stdout.split('\n').slice(0, -1);
}

/** @returns the numbers in the only line that the command gives. */
function numbers(command: string): number[] {
  return ask([command])[0]!.trim().split(' ').map(Number);
}

/** Sizes, offsets and values in the headers, as the program prints them. */
function layout(): Map<string, number> {
  const entries = ask(['structs', 'rings', 'values']).flatMap((line) => line.split(';').slice(0, -1));
  return new Map(entries.map((entry) => [entry.slice(0, entry.indexOf('=')), Number(entry.split('=')[1])]));
}

/** Random words that fast-check need not shrink. */
function words(seed: number, count: number): Uint32Array {
  let state = seed | 1;
  return Uint32Array.from({ length: count }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  });
}

type Op =
  | { readonly kind: 'push' | 'arm' | 'collect' | 'armResponses' | 'attach' }
  | { readonly kind: 'request' | 'take' | 'answer'; readonly count: number; readonly seed: number }
  | { readonly kind: 'event'; readonly word: number; readonly value: number }
  | { readonly kind: 'claim'; readonly value: number };

/** Both ends of one of our rings, and the commands after which the program must have the same state. */
class Replay {
  readonly commands: string[] = [];
  readonly expected: string[] = [];
  readonly #shape: RingShape;
  readonly #page = new Uint8Array(netif.RING_PAGE_BYTES);
  readonly #words = new Uint32Array(this.#page.buffer);
  readonly #front: FrontRing;
  #back: BackRing;

  constructor(shape: RingShape, start: number) {
    this.#shape = shape;
    this.#front = new FrontRing({
      page: { bytes: this.#page, u32: this.#words } as SharedPages,
      size: shape.size,
      slotWords: shape.slotWords,
      start,
    });
    this.#back = new BackRing(this.#page, shape);
    this.#back.attach();
    this.#same(`init-${shape === TX_RING ? 'tx' : 'rx'} ${start}`, '');
    this.#samePage();
  }

  run(op: Op): void {
    switch (op.kind) {
      case 'request':
        this.#request(op.count, op.seed);
        break;
      case 'push':
        this.#same('push', Number(this.#front.push()));
        break;
      case 'take':
        this.#take(op.count);
        break;
      case 'answer':
        this.#answer(op.count, op.seed);
        break;
      case 'arm':
        this.#arm();
        break;
      case 'collect':
        this.#collect();
        break;
      case 'armResponses':
        if (this.#front.responses() === 0) this.#same('final-responses', Number(this.#front.arm()));
        break;
      case 'attach':
        this.#attach();
        break;
      case 'event':
        this.#words[op.word] = op.value;
        this.#same(`poke ${op.word} ${op.value}`, '');
        break;
      case 'claim':
        this.#claim(op.value);
        break;
    }
    this.#same('free', this.#front.free);
    this.#samePage();
  }

  #request(count: number, seed: number): void {
    const { requestWords } = this.#shape;
    for (let i = Math.min(count, this.#front.free); i > 0; i--) {
      const request = words(seed + i, requestWords);
      this.#words.set(request, this.#front.at(this.#front.produce()));
      this.#same(`request ${request.join(' ')}`, 0);
    }
  }

  #take(most: number): void {
    const waiting = this.#back.waiting();
    this.#same('waiting', waiting);
    const count = Math.min(most, waiting);
    const into = new Uint32Array(count * this.#shape.requestWords);
    this.#back.copy(count, into);
    this.#same(`copy ${count}`, [count, ...into].join(' '));
    this.#back.take(count);
    this.#same(`take ${count}`, 0);
  }

  #answer(most: number, seed: number): void {
    const owed = (this.#back.requestsTaken - this.#back.responsesPublished) >>> 0;
    const count = Math.min(most, owed);
    const { responseWords } = this.#shape;
    const responses = words(seed, count * responseWords);
    for (let i = 0; i < count; i++) {
      const response = responses.subarray(i * responseWords, (i + 1) * responseWords);
      this.#same(`respond ${response.join(' ')}`, 0);
    }
    this.#same('publish', Number(this.#back.publish(responses, count)));
  }

  /** The macro first looks for requests and arms only without. Our caller has just looked. */
  #arm(): void {
    const waiting = this.#back.waiting();
    this.#same('waiting', waiting);
    if (waiting === 0) this.#same('final', Number(this.#back.arm()));
  }

  #collect(): void {
    const count = this.#front.responses();
    this.#same('responses', count);
    const taken: number[] = [];
    for (let i = 0; i < count; i++) {
      const at = this.#front.at(this.#front.consumed + i);
      taken.push(...this.#words.subarray(at, at + this.#shape.responseWords));
    }
    this.#front.consume(count);
    this.#same(`take-responses ${count}`, [count, ...taken].join(' '));
  }

  /** A new backend process: requests that were taken and have no response are taken again. */
  #attach(): void {
    this.#back = new BackRing(this.#page, this.#shape);
    this.#same('attach', Number(this.#back.attach()));
  }

  /** The frontend claims any `req_prod`; then the right one is restored. */
  #claim(value: number): void {
    const honest = this.#words[netif.RING_REQ_PROD]!;
    this.#words[netif.RING_REQ_PROD] = value;
    const waiting = this.#back.waiting();
    this.#words[netif.RING_REQ_PROD] = honest;
    // The macros assume that a frontend does not move its index back behind the taken requests; vifd reports that as broken too.
    const backwards = (value - this.#back.requestsTaken) >>> 0 > this.#shape.size;
    if (backwards) expect(waiting).toBe(RING_BROKEN);
    else {
      this.#same(`poke ${netif.RING_REQ_PROD} ${value}`, '');
      this.#same('waiting', waiting);
      this.#same(`poke ${netif.RING_REQ_PROD} ${honest}`, '');
    }
    this.#same('waiting', this.#back.waiting());
  }

  #same(command: string, result: number | string): void {
    this.commands.push(command);
    this.expected.push(String(result));
  }

  #samePage(): void {
    this.#same('dump', Buffer.from(this.#page).toString('hex'));
  }
}

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const seed = fc.integer({ min: 1, max: 2 ** 30 });
const count = fc.oneof(fc.integer({ min: 0, max: 8 }), fc.integer({ min: 0, max: 256 }));
/** Where a wrong sign or a missing wrap shows. */
const start = fc
  .tuple(fc.constantFrom(0, 2 ** 31, 2 ** 32), fc.integer({ min: -300, max: 300 }))
  .map(([base, offset]) => (base + offset) >>> 0);
const ops: fc.Arbitrary<Op> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('request' as const), count, seed }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('take' as const), count, seed }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('answer' as const), count, seed }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom('push', 'push', 'arm', 'collect', 'armResponses', 'attach'),
    }),
  },
  fc.record({
    kind: fc.constant('event' as const),
    word: fc.constantFrom(netif.RING_REQ_EVENT, netif.RING_RSP_EVENT),
    value: fc.oneof(start, u32),
  }),
  fc.record({ kind: fc.constant('claim' as const), value: fc.oneof(start, u32) }),
) as fc.Arbitrary<Op>;

function replays(shape: RingShape): void {
  fc.assert(
    fc.property(start, fc.array(ops, { minLength: 10, maxLength: 60, size: 'max' }), (index, sequence) => {
      const replay = new Replay(shape, index);
      for (const op of sequence) replay.run(op);
      const answers = ask(replay.commands);
      const at = answers.findIndex((answer, i) => answer !== replay.expected[i]);
      // Only the line that differs: vitest would print them all.
      if (at >= 0)
        expect([replay.commands[at], replay.expected[at]]).toEqual([replay.commands[at], answers[at]]);
      expect(answers.length).toBe(replay.commands.length);
    }),
    { numRuns: 100, seed: 7 },
  );
}

/** Our constants and word positions, in the header's words. */
const OURS: Record<string, number> = {
  'sizeof(struct netif_tx_request)': TX_RING.requestWords * 4,
  'sizeof(struct netif_tx_response)': TX_RING.responseWords * 4,
  'sizeof(struct netif_rx_request)': RX_RING.requestWords * 4,
  'sizeof(struct netif_rx_response)': RX_RING.responseWords * 4,
  'sizeof(union netif_tx_sring_entry)': netif.TX_SLOT_WORDS * 4,
  'sizeof(union netif_rx_sring_entry)': netif.RX_SLOT_WORDS * 4,
  'sizeof(struct netif_extra_info)': 8,
  'struct netif_tx_request.gref': 0,
  'struct netif_tx_request.offset': 4,
  'struct netif_tx_request.flags': 6,
  'struct netif_tx_request.id': 8,
  'struct netif_tx_request.size': 10,
  'struct netif_tx_response.id': 0,
  'struct netif_tx_response.status': 2,
  'struct netif_rx_request.id': 0,
  'struct netif_rx_request.gref': 4,
  'struct netif_rx_response.id': 0,
  'struct netif_rx_response.offset': 2,
  'struct netif_rx_response.flags': 4,
  'struct netif_rx_response.status': 6,
  'struct netif_extra_info.type': 0,
  'struct netif_extra_info.flags': 1,
  'struct netif_extra_info.u.gso.size': 2,
  'struct netif_extra_info.u.gso.type': 4,
  'struct netif_extra_info.u.gso.features': 6,
  'struct netif_extra_info.u.mcast.addr': 2,
  'struct netif_extra_info.u.hash.type': 2,
  'struct netif_extra_info.u.hash.algorithm': 3,
  'struct netif_extra_info.u.hash.value': 4,
  'sizeof(struct xen_netif_ctrl_request)': control.CTRL_REQUEST_WORDS * 4,
  'struct xen_netif_ctrl_request.type': 2,
  'struct xen_netif_ctrl_request.data': 4,
  'sizeof(struct xen_netif_ctrl_response)': control.CTRL_RESPONSE_WORDS * 4,
  'struct xen_netif_ctrl_response.status': 4,
  'struct xen_netif_ctrl_response.data': 8,
  'sizeof(struct xen_netif_gref)': 8,
  'struct xen_netif_gref.flags': 4,
  'struct xen_netif_gref.status': 6,
  'sizeof(union xen_netif_ctrl_sring_entry)': control.CTRL_RING.slotWords * 4,
  'struct xen_netif_ctrl_sring.ring': netif.RING_HEADER_WORDS * 4,
  ctrl_ring_size: control.CTRL_RING_SIZE,
  'struct netif_tx_sring.req_prod': netif.RING_REQ_PROD * 4,
  'struct netif_tx_sring.req_event': netif.RING_REQ_EVENT * 4,
  'struct netif_tx_sring.rsp_prod': netif.RING_RSP_PROD * 4,
  'struct netif_tx_sring.rsp_event': netif.RING_RSP_EVENT * 4,
  'struct netif_tx_sring.ring': netif.RING_HEADER_WORDS * 4,
  'struct netif_rx_sring.ring': netif.RING_HEADER_WORDS * 4,
  tx_ring_size: netif.TX_RING_SIZE,
  rx_ring_size: netif.RX_RING_SIZE,
  NETTXF_csum_blank: netif.TX_FLAG_CSUM_BLANK,
  NETTXF_data_validated: netif.TX_FLAG_DATA_VALIDATED,
  NETTXF_more_data: netif.TX_FLAG_MORE_DATA,
  NETTXF_extra_info: netif.TX_FLAG_EXTRA_INFO,
  NETRXF_data_validated: netif.RX_FLAG_DATA_VALIDATED,
  NETRXF_csum_blank: netif.RX_FLAG_CSUM_BLANK,
  NETRXF_more_data: netif.RX_FLAG_MORE_DATA,
  NETRXF_extra_info: netif.RX_FLAG_EXTRA_INFO,
  NETIF_RSP_DROPPED: netif.RSP_DROPPED,
  NETIF_RSP_ERROR: netif.RSP_ERROR,
  NETIF_RSP_OKAY: netif.RSP_OKAY,
  NETIF_RSP_NULL: netif.RSP_NULL,
  XEN_NETIF_EXTRA_TYPE_GSO: netif.EXTRA_TYPE_GSO,
  XEN_NETIF_EXTRA_TYPE_MCAST_ADD: netif.EXTRA_TYPE_MCAST_ADD,
  XEN_NETIF_EXTRA_TYPE_MCAST_DEL: netif.EXTRA_TYPE_MCAST_DEL,
  XEN_NETIF_EXTRA_TYPE_HASH: netif.EXTRA_TYPE_HASH,
  XEN_NETIF_EXTRA_FLAG_MORE: netif.EXTRA_FLAG_MORE,
  XEN_NETIF_GSO_TYPE_NONE: netif.GSO_TYPE_NONE,
  XEN_NETIF_GSO_TYPE_TCPV4: netif.GSO_TYPE_TCPV4,
  XEN_NETIF_GSO_TYPE_TCPV6: netif.GSO_TYPE_TCPV6,
  XEN_NETIF_NR_SLOTS_MIN: netif.FRAME_SLOTS_MAX,
  XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS: control.CTRL_GET_HASH_FLAGS,
  XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS: control.CTRL_SET_HASH_FLAGS,
  XEN_NETIF_CTRL_TYPE_SET_HASH_KEY: control.CTRL_SET_HASH_KEY,
  XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE: control.CTRL_GET_HASH_MAPPING_SIZE,
  XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE: control.CTRL_SET_HASH_MAPPING_SIZE,
  XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING: control.CTRL_SET_HASH_MAPPING,
  XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM: control.CTRL_SET_HASH_ALGORITHM,
  XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE: control.CTRL_GET_GREF_MAPPING_SIZE,
  XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING: control.CTRL_ADD_GREF_MAPPING,
  XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING: control.CTRL_DEL_GREF_MAPPING,
  XEN_NETIF_CTRL_STATUS_SUCCESS: control.CTRL_SUCCESS,
  XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED: control.CTRL_NOT_SUPPORTED,
  XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER: control.CTRL_INVALID_PARAMETER,
  XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW: control.CTRL_BUFFER_OVERFLOW,
  XEN_NETIF_CTRL_HASH_ALGORITHM_NONE: control.HASH_ALGORITHM_NONE,
  XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ: control.HASH_ALGORITHM_TOEPLITZ,
  XEN_NETIF_CTRL_HASH_TYPE_IPV4: control.HASH_TYPE_IPV4,
  XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP: control.HASH_TYPE_IPV4_TCP,
  XEN_NETIF_CTRL_HASH_TYPE_IPV6: control.HASH_TYPE_IPV6,
  XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP: control.HASH_TYPE_IPV6_TCP,
};

/** One TX frame of two data slots and a GSO extra: the program encodes it, we parse it and write its responses. */
function txFrame(): { frames: TxFrames; slots: Uint32Array } {
  const { TX_FLAG_MORE_DATA, TX_FLAG_EXTRA_INFO, TX_FLAG_CSUM_BLANK } = netif;
  const flags = TX_FLAG_MORE_DATA | TX_FLAG_EXTRA_INFO | TX_FLAG_CSUM_BLANK;
  const slots = Uint32Array.from([
    ...numbers(`encode-tx 77 100 ${flags} 60000 5000`),
    ...numbers(`encode-gso 1448 ${netif.GSO_TYPE_TCPV6}`),
    ...numbers('encode-tx 78 5 0 61000 2000'),
  ]);
  const frames = new TxFrames(3);
  parseTx(slots, 3, true, frames);
  return { frames, slots };
}

describe.skipIf(oracle === undefined)(title, () => {
  test('sizes, offsets and values', () => {
    expect(Object.fromEntries(layout())).toEqual(OURS);
  });

  test('a TX frame is read as it was written, and its responses are read as we wrote them', () => {
    const { frames, slots } = txFrame();
    const { responses } = frames;
    expect(frames.fault).toBeUndefined();
    expect([frames.count, frames.slots, frames.extraCount(0), frames.size(0)]).toEqual([1, 3, 1, 5000]);
    expect([frames.gso(0) & 0xffff, frames.gso(0) >>> 16]).toEqual([netif.GSO_TYPE_TCPV6, 1448]);
    expect([slots[2]! >>> 16, slots[8]! >>> 16]).toEqual([3000, 2000]);
    expect(numbers(`decode-tx ${responses[0]}`)).toEqual([60000, netif.RSP_OKAY]);
    expect(numbers(`decode-tx ${responses[1]}`)[1]).toBe(netif.RSP_NULL);
    expect(numbers(`decode-tx ${responses[2]}`)).toEqual([61000, netif.RSP_OKAY]);
  });

  test('RX responses are read as we wrote them', () => {
    const requests = Uint32Array.from([9, 100, 10, 101, 60000, 102, 12, 103]);
    const responses = new Uint32Array(8).fill(0xaaaaaaaa);
    const blank = netif.RX_FLAG_CSUM_BLANK;
    respondRx(requests, 0, 4096 + 904, blank, netif.GSO_TYPE_TCPV4 | (1460 << 16), responses);
    refuseRx(requests, 3, netif.RSP_ERROR, responses);
    const decoded = (slot: number, how: string) =>
      numbers(`${how} ${responses[slot * 2]} ${responses[slot * 2 + 1]}`);
    const firstFlags = blank | netif.RX_FLAG_MORE_DATA | netif.RX_FLAG_EXTRA_INFO;
    expect(decoded(0, 'decode-rx')).toEqual([9, 0, firstFlags, 4096]);
    expect(decoded(1, 'decode-gso')).toEqual([netif.EXTRA_TYPE_GSO, 0, 1460, netif.GSO_TYPE_TCPV4, 0, 0]);
    expect(decoded(2, 'decode-rx')).toEqual([60000, 0, 0, 904]);
    expect(decoded(3, 'decode-rx')).toEqual([12, 0, 0, netif.RSP_ERROR]);
  });

  test('any course of events on a TX ring leaves the same bytes', () => replays(TX_RING), 120_000);

  test('any course of events on an RX ring leaves the same bytes', () => replays(RX_RING), 120_000);
});
