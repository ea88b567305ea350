import { DurableWords } from '../lib/durable/durable-words.js';
import { CREDIT, HASH_BANKS, MULTICAST } from '../lib/durable/layout.js';
import { newBatches } from '../lib/netback/frames/batch-memory.js';
import { Conform } from '../lib/netback/frames/conform.js';
import { FlowCounters } from '../lib/netback/frames/counters.js';
import { Hooks } from '../lib/netback/frames/hooks.js';
import { Credit } from '../lib/netback/guest/credit.js';
import { CreditTurns } from '../lib/netback/guest/credit-turns.js';
import { HashState } from '../lib/netback/guest/hash.js';
import { MulticastFilter } from '../lib/netback/guest/multicast.js';
import { FromGuest } from '../lib/netback/queue/from-guest.js';
import { ToGuest } from '../lib/netback/queue/to-guest.js';
import { BackRing } from '../lib/netback/ring/back-ring.js';
import type { PumpResult } from '../lib/netback/ring/turns.js';
import type { PayloadMode } from '../lib/netback/settings.js';
import {
  FRAME_BYTES_MAX,
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAMES_ALIGN,
  FRAMES_END,
  FRAMES_PHASE,
  type FrameBatch,
  frameAt,
} from '../lib/ports/frame-batch.js';
import type { Port, PortIo } from '../lib/ports/port.js';
import { RING_REQ_PROD } from '../lib/protocol/netif.js';
import { RX_RING, TX_RING } from '../lib/protocol/ring.js';
import { VNET_HEADER_BYTES } from '../lib/protocol/vnet.js';
import { systemClock } from '../lib/xen/native/clock.js';
import type { Grants, Mapping, StagedGrants } from '../lib/xen/seam.js';
import type { BenchGuest } from './guest.js';
import { GUEST } from './machines.js';

/** What is measured: the C++ loop, or lib/netback. */
export interface Loop {
  /** Publishes `slots` slots, `step` at a time, and drains the ring after each. @returns nanoseconds. */
  fromGuest(slots: number, step: number): number;
  /** Offers `frames` frames, `step` at a time, to a ring with room for all. @returns nanoseconds. */
  toGuest(frames: number, step: number): number;
  /** The frame that `toGuest` delivers, its vnet header in front. */
  setSource(bytes: Uint8Array): void;
}

/** The classes that serve a vif, on both rings of `guest`; `port` instead of one that counts. */
export class TypeScriptLoop implements Loop {
  readonly counters = { fromGuest: new FlowCounters(), toGuest: new FlowCounters() };
  readonly #guest: BenchGuest;
  readonly #rings: readonly Mapping[];
  readonly #txRing: BackRing;
  readonly #rxRing: BackRing;
  readonly #fromGuest: FromGuest;
  readonly #toGuest: ToGuest;
  readonly #source: NullPortIo;
  readonly #staged: StagedGrants;
  #notified = 0;

  /** @param staged the guest's pages stay mapped. */
  constructor(grants: Grants, guest: BenchGuest, payload: PayloadMode, port?: Port, staged = false) {
    this.#guest = guest;
    this.#rings = [guest.txRef, guest.rxRef].map((ref) => grants.map(GUEST, [ref], 'write'));
    this.#txRing = new BackRing(this.#rings[0].page(0), TX_RING);
    this.#rxRing = new BackRing(this.#rings[1].page(0), RX_RING);
    const hooks = new Hooks(systemClock, (error) => {
      throw error;
    });
    const frames = newBatches((bytes) => grants.arena(bytes));
    const multicast = new MulticastFilter(DurableWords.ofProcess(MULTICAST.words));
    this.#staged = grants.staged(GUEST);
    if (staged) stage(this.#staged, guest);
    const common = { grants, domid: GUEST, payload, hooks, multicast, staged: this.#staged };
    this.#fromGuest = new FromGuest({
      ...common,
      ring: this.#txRing,
      frames: frames.fromGuest,
      credit: new CreditTurns(new Credit(DurableWords.ofProcess(CREDIT.words))).of(0),
      clock: systemClock,
      counters: this.counters.fromGuest,
    });
    const all = { checksumV4: true, checksumV6: true, gsoV4: true, gsoV6: true };
    const capabilities = { scatterGather: true, xdpHeadroom: 0, conform: new Conform(all) };
    this.#toGuest = new ToGuest({
      ...common,
      ring: this.#rxRing,
      frames: frames.toGuest,
      capabilities,
      hash: new HashState(DurableWords.ofProcess(HASH_BANKS.words), 1),
      counters: this.counters.toGuest,
      clock: systemClock,
      rxNotify: true,
      stalls: { onStall: () => {}, onRecovery: () => {} },
    });
    this.#source = new NullPortIo(this.#fromGuest.frames, this.#toGuest.frames);
    this.#fromGuest.start(port === undefined ? this.#source : this.#open(port), port?.writesMapped ?? true);
    this.#toGuest.start(this.#source);
  }

  get notified(): number {
    return this.#notified;
  }

  fromGuest(slots: number, step: number): number {
    attach(this.#txRing);
    const words = this.#guest.txWords;
    const first = words[RING_REQ_PROD];
    const start = process.hrtime.bigint();
    for (let done = step; done <= slots; done += step) {
      words[RING_REQ_PROD] = first + done;
      this.#drain(this.#fromGuest);
    }
    return Number(process.hrtime.bigint() - start);
  }

  toGuest(frames: number, step: number): number {
    attach(this.#rxRing);
    const start = process.hrtime.bigint();
    for (let done = step; done <= frames; done += step) {
      this.#source.offered = step;
      this.#drain(this.#toGuest);
    }
    return Number(process.hrtime.bigint() - start);
  }

  setSource(bytes: Uint8Array): void {
    this.#source.fill(bytes);
  }

  /** The frames of the last batch from the guest, vnet headers in front. Of payload mode copy. */
  lastFrames(): Uint8Array[] {
    const { block, arena, count } = this.#fromGuest.frames;
    return Array.from({ length: count }, (_, i) => {
      const offset = block[frameAt(i) + FRAME_OFFSET];
      return arena.bytes.slice(offset - VNET_HEADER_BYTES, offset + block[frameAt(i) + FRAME_LENGTH]);
    });
  }

  close(): void {
    for (const batch of this.#fromGuest.batches) batch[Symbol.dispose]();
    this.#toGuest.grants[Symbol.dispose]();
    this.#staged[Symbol.dispose]();
    for (const ring of this.#rings) ring.unmap();
  }

  #open(port: Port): PortIo {
    const batches = {
      writes: this.#fromGuest.frames,
      reads: this.#toGuest.frames,
      mapped: this.#fromGuest.grants,
    };
    const options = { checksumV4: true, checksumV6: true, gsoV4: true, gsoV6: true, onReadable: () => {} };
    return port.open(batches, options);
  }

  readonly #notify = (): void => {
    this.#notified++;
  };

  #drain(pump: { pump(notify: () => void): PumpResult }): void {
    let result: PumpResult = 'more';
    while (result === 'more') result = pump.pump(this.#notify);
    if (result !== 'idle') throw new Error('stop' in result ? result.stop : 'throttled');
  }
}

function stage(staged: StagedGrants, guest: BenchGuest): void {
  const taken = staged.add(guest.txRefs, 'read') && staged.add(guest.rxRefs, 'write');
  if (!taken) throw new Error('cannot stage the grants');
}

function attach(ring: BackRing): void {
  if (!ring.attach()) throw new Error('cannot attach to the ring');
}

/** Takes frames and counts on; gives the same frame over and over, each time it is offered. */
class NullPortIo implements PortIo {
  offered = 0;
  readonly #writes: FrameBatch;
  readonly #reads: FrameBatch;
  #room = 0;

  constructor(writes: FrameBatch, reads: FrameBatch) {
    this.#writes = writes;
    this.#reads = reads;
  }

  /** Lays copies of a frame out in the arena, as a tap's reads do. */
  fill(bytes: Uint8Array): void {
    const { block, arena, capacity } = this.#reads;
    const align = block[FRAMES_ALIGN];
    const length = bytes.length - VNET_HEADER_BYTES;
    // The vnet header lies in front of the first frame, too.
    let offset = block[FRAMES_PHASE] < VNET_HEADER_BYTES ? align + block[FRAMES_PHASE] : block[FRAMES_PHASE];
    for (this.#room = 0; this.#room < capacity; this.#room++) {
      if (offset + FRAME_BYTES_MAX > block[FRAMES_END]) return;
      arena.bytes.set(bytes, offset - VNET_HEADER_BYTES);
      block[frameAt(this.#room) + FRAME_OFFSET] = offset;
      block[frameAt(this.#room) + FRAME_LENGTH] = length;
      offset = ((offset + length + align - 1) & -align) + block[FRAMES_PHASE];
    }
  }

  write(): number {
    return this.#writes.count;
  }

  read(): number {
    const count = Math.min(this.offered, this.#room);
    this.offered -= count;
    this.#reads.count = count;
    return count;
  }

  wantReadable(): void {}
  close(): void {}
}
