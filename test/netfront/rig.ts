/** Half of a frontend on memory of the test's own, and the backend's end of its ring, for actions that no honest backend takes. */

import type { FrameBatch } from '../../lib/ports/frame-batch.js';
import type { PortOptions } from '../../lib/ports/port.js';
import { RING_HEADER_WORDS, RING_REQ_PROD, RING_RSP_PROD } from '../../lib/protocol/netif.js';
import { ALL_FEATURES } from '../../lib/testing/netfront/features.js';
import { FramePort } from '../../lib/testing/netfront/frame-port.js';
import { HashOracle } from '../../lib/testing/netfront/hash-oracle.js';
import { Xorshift } from '../../lib/testing/netfront/random.js';
import { Receive, type ReceiveOptions } from '../../lib/testing/netfront/receive.js';
import { type TrafficOptions, TrafficPort } from '../../lib/testing/netfront/traffic.js';
import { Transmit } from '../../lib/testing/netfront/transmit.js';
import { Violations } from '../../lib/testing/netfront/violations.js';
import { type Arena, PAGE_SIZE, type SharedPages, type Shares } from '../../lib/xen/seam.js';

export class FakePages implements SharedPages {
  readonly pages: number;
  readonly bytes: Uint8Array;
  readonly u32: Uint32Array;
  readonly #table: FakeShares;

  constructor(table: FakeShares, pages: number) {
    this.pages = pages;
    this.bytes = new Uint8Array(pages * PAGE_SIZE);
    this.u32 = new Uint32Array(this.bytes.buffer);
    this.#table = table;
  }

  grant(page: number): number {
    return this.#table.add(this, page);
  }

  end(ref: number): boolean {
    if (!this.#table.grants.has(ref)) throw new Error(`reference ${ref} is not granted`);
    if (this.#table.mapped.has(ref)) return false;
    this.#table.grants.delete(ref);
    return true;
  }

  [Symbol.dispose](): void {}
}

export class FakeShares implements Shares {
  /** The grants that have not ended, by reference. */
  readonly grants = new Map<number, Uint8Array>();
  /** References that the backend has mapped. */
  readonly mapped = new Set<number>();
  #next = 8;

  allocate(pages: number): FakePages {
    return new FakePages(this, pages);
  }

  add(pages: FakePages, page: number): number {
    this.#next += 3;
    this.grants.set(this.#next, pages.bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE));
    return this.#next;
  }

  page(ref: number): Uint8Array {
    const page = this.grants.get(ref);
    if (page === undefined) throw new Error(`the backend used reference ${ref}, which is not granted`);
    return page;
  }
}

/** The backend's end of a ring. */
export class Hand {
  readonly #words: Uint32Array;
  readonly #slotWords: number;

  constructor(page: SharedPages, slotWords: number) {
    this.#words = page.u32;
    this.#slotWords = slotWords;
  }

  get requests(): number {
    return this.#words[RING_REQ_PROD]!;
  }

  set requests(index: number) {
    this.#words[RING_REQ_PROD] = index;
  }

  get responses(): number {
    return this.#words[RING_RSP_PROD]!;
  }

  /** Publishes responses. */
  set responses(index: number) {
    this.#words[RING_RSP_PROD] = index;
  }

  word(index: number, word: number): number {
    return this.#words[RING_HEADER_WORDS + (index & 255) * this.#slotWords + word]!;
  }

  write(index: number, word: number, value: number): void {
    this.#words[RING_HEADER_WORDS + (index & 255) * this.#slotWords + word] = value;
  }
}

export interface TxRequest {
  readonly ref: number;
  readonly offset: number;
  readonly flags: number;
  readonly id: number;
  readonly size: number;
}

export function txRequest(hand: Hand, index: number): TxRequest {
  return {
    ref: hand.word(index, 0),
    offset: hand.word(index, 1) & 0xffff,
    flags: hand.word(index, 1) >>> 16,
    id: hand.word(index, 2) & 0xffff,
    size: hand.word(index, 2) >>> 16,
  };
}

export function answerTx(hand: Hand, index: number, id: number, status = 0): void {
  hand.write(index, 0, id | ((status & 0xffff) << 16));
}

export function respondRx(
  hand: Hand,
  index: number,
  answer: { offset?: number; flags?: number; status: number; id?: number },
): void {
  const id = answer.id ?? hand.word(index, 0) & 0xffff;
  hand.write(index, 0, id | ((answer.offset ?? 0) << 16));
  hand.write(index, 1, (answer.flags ?? 0) | ((answer.status & 0xffff) << 16));
}

const OFFERED: PortOptions = {
  checksumV4: true,
  checksumV6: true,
  gsoV4: true,
  gsoV6: true,
  onReadable: () => {},
};

export interface TransmitRig {
  readonly transmit: Transmit;
  readonly violations: Violations;
  readonly shares: FakeShares;
  readonly port: TrafficPort;
  readonly hand: Hand;
  readonly clock: { nowMs: number };
  notified: number;
}

export function transmitRig(
  generate: NonNullable<TrafficOptions['generate']>,
  options: { inOrder?: boolean; ringStart?: number } = {},
): TransmitRig {
  const shares = new FakeShares();
  const violations = new Violations();
  const clock = { nowMs: 0 };
  const port = new TrafficPort({ generate });
  const rig = { notified: 0 };
  const transmit = new Transmit({
    shares,
    violations,
    backendDomid: 0,
    clock: { now: () => clock.nowMs, after: () => ({ [Symbol.dispose]() {} }) },
    random: new Xorshift(7),
    keepGrants: false,
    ringStart: options.ringStart ?? 0,
    inOrder: options.inOrder ?? true,
    notify: () => {
      rig.notified += 1;
    },
  });
  const writes = { count: 0 } as unknown as FrameBatch;
  transmit.start(
    port.open(
      { reads: transmit.reads, writes },
      {
        ...OFFERED,
        onReadable: () => {
          transmit.onReadable();
          transmit.pump();
        },
      },
    ),
  );
  const hand = new Hand(transmit.ringPage, 3);
  return Object.assign(rig, { transmit, violations, shares, port, hand, clock });
}

/** What came out of the to-guest direction. */
export interface Delivered {
  readonly bytes: number[];
  readonly vnet: number[];
}

export class RecordingPort extends FramePort {
  readonly delivered: Delivered[] = [];
  batches = 0;
  /** How many frames of a batch are taken. */
  room = Number.POSITIVE_INFINITY;
  #roomLeft = 0;

  constructor() {
    super({
      name: 'recording',
      onWrite: () => {
        this.batches += 1;
        this.#roomLeft = this.room;
      },
      admit: () => (this.#roomLeft-- > 0 ? 0 : 'full'),
      onFrame: (frame, header) => this.delivered.push({ bytes: [...frame], vnet: [...header] }),
    });
  }
}

export interface ReceiveRig {
  readonly receive: Receive;
  readonly violations: Violations;
  readonly shares: FakeShares;
  readonly port: RecordingPort;
  readonly hand: Hand;
  notified: number;
}

export function receiveRig(options: Partial<ReceiveOptions> = {}): ReceiveRig {
  const shares = new FakeShares();
  const violations = new Violations();
  const port = new RecordingPort();
  const bytes = new Uint8Array(1 << 20);
  const arena: Arena = { bytes, u32: new Uint32Array(bytes.buffer) };
  const rig = { notified: 0 };
  const receive = new Receive({
    shares,
    violations,
    arena,
    backendDomid: 0,
    clock: { now: () => 0, after: () => ({ [Symbol.dispose]() {} }) },
    random: new Xorshift(7),
    keepGrants: false,
    ringStart: 0,
    features: ALL_FEATURES,
    hash: new HashOracle(),
    notify: () => {
      rig.notified += 1;
    },
    ...options,
  });
  const reads = { count: 0 } as unknown as FrameBatch;
  receive.start(port.open({ writes: receive.writes, reads }, OFFERED));
  const hand = new Hand(receive.ringPage, 2);
  return Object.assign(rig, { receive, violations, shares, port, hand });
}
