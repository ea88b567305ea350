import type { Journals } from '../lib/durable/journal.js';
import { Conform } from '../lib/netback/frames/conform.js';
import type { QueueCounters } from '../lib/netback/frames/counters.js';
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
import { FRAME_LENGTH, FRAME_OFFSET, frameAt } from '../lib/ports/frame-batch.js';
import type { Port, PortIo } from '../lib/ports/port.js';
import { RING_REQ_PROD } from '../lib/protocol/netif.js';
import { RX_RING, TX_RING } from '../lib/protocol/ring.js';
import { VNET_HEADER_BYTES } from '../lib/protocol/vnet.js';
import { systemClock } from '../lib/xen/native/clock.js';
import type { Grants, Mapping, StagedGrants } from '../lib/xen/seam.js';
import { type ConnectionMemory, connectionMemory, settingsOf } from './connection.js';
import type { BenchGuest } from './guest.js';
import { GUEST } from './machines.js';
import { NullPortIo } from './null-port.js';

/** Read before and after a loop: nanoseconds since some instant, or bytes. */
export type Gauge = () => number;

/** What is measured: the C++ loop, or lib/netback. */
export interface Loop {
  /**
   * Publishes `slots` slots, `step` at a time, and drains the ring after each.
   * @param gauge a loop of TypeScript returns by how much it grew; C++ knows only time.
   * @returns nanoseconds by default.
   */
  fromGuest(slots: number, step: number, gauge?: Gauge): number;
  /** Offers `frames` frames, `step` at a time, to a ring with room for all. @returns as `fromGuest`. */
  toGuest(frames: number, step: number, gauge?: Gauge): number;
  /** Sets the frame that `toGuest` delivers, its vnet header in front. */
  setSource(bytes: Uint8Array): void;
}

export interface LoopParts {
  readonly grants: Grants;
  readonly guest: BenchGuest;
  readonly payload: PayloadMode;
  /** Undefined: no journal. `vifd run` has one by default. */
  readonly journals?: Journals | undefined;
  /** Where frames of the guest go. Default: nowhere. */
  readonly port?: Port;
  /** Whether the guest's pages stay mapped. */
  readonly staged?: boolean;
  readonly observe?: Observe;
}

/** Called after each batch of frames of one slot. */
export type AfterBatch = (frames: number) => void;

/** Adds hooks. @returns what a program does with the frames that they passed, if anything. */
export type Observe = (hooks: Hooks) => AfterBatch | undefined;

/** The classes that serve a vif, on both rings of a guest. */
export class TypeScriptLoop implements Loop {
  readonly counters: QueueCounters;
  readonly #guest: BenchGuest;
  readonly #memory: ConnectionMemory;
  readonly #rings: readonly Mapping[];
  readonly #txRing: BackRing;
  readonly #rxRing: BackRing;
  readonly #fromGuest: FromGuest;
  readonly #toGuest: ToGuest;
  readonly #source: NullPortIo;
  readonly #staged: StagedGrants;
  readonly #afterBatch: AfterBatch | undefined;
  #notified = 0;

  constructor({ grants, guest, payload, journals, port, staged = false, observe }: LoopParts) {
    this.#guest = guest;
    const settings = settingsOf(guest);
    const memory = connectionMemory(settings, grants, journals);
    const { vif, queue, batches } = memory;
    this.#memory = memory;
    this.counters = memory.counters;
    this.#rings = [guest.txRef, guest.rxRef].map((ref) => grants.map(GUEST, [ref], 'write'));
    this.#txRing = new BackRing(this.#rings[0].page(0), TX_RING, queue?.fromGuest.log);
    this.#rxRing = new BackRing(this.#rings[1].page(0), RX_RING, queue?.toGuest.log);
    // A hook that is reported as slow was interrupted by other work of the machine. Other faults are counted: `close` looks at them.
    const hooks = new Hooks(systemClock, () => {});
    this.#afterBatch = observe?.(hooks);
    const multicast = new MulticastFilter(vif.multicast);
    this.#staged = grants.staged(GUEST);
    if (staged) stage(this.#staged, guest);
    const common = { grants, domid: GUEST, payload, hooks, multicast, staged: this.#staged };
    this.#fromGuest = new FromGuest({
      ...common,
      ring: this.#txRing,
      frames: batches.fromGuest,
      credit: new CreditTurns(new Credit(vif.credit)).of(0),
      clock: systemClock,
      counters: this.counters.fromGuest,
    });
    const { scatterGather, xdpHeadroom, rxNotify, checksumV4, checksumV6, gsoV4, gsoV6 } = settings;
    const conform = new Conform({ checksumV4, checksumV6, gsoV4, gsoV6 });
    this.#toGuest = new ToGuest({
      ...common,
      ring: this.#rxRing,
      frames: batches.toGuest,
      capabilities: { scatterGather, xdpHeadroom, conform },
      hash: new HashState(vif.hash, settings.queues.length),
      counters: this.counters.toGuest,
      clock: systemClock,
      rxNotify,
      stalls: { onStall: () => {}, onRecovery: () => {} },
    });
    this.#source = new NullPortIo(this.#fromGuest.frames, this.#toGuest.frames);
    this.#fromGuest.start(port === undefined ? this.#source : this.#open(port), port?.writesMapped ?? true);
    this.#toGuest.start(this.#source);
  }

  get notified(): number {
    return this.#notified;
  }

  fromGuest(slots: number, step: number, gauge: Gauge = clockNs): number {
    attach(this.#txRing);
    const words = this.#guest.txWords;
    const first = words[RING_REQ_PROD];
    const start = gauge();
    for (let done = step; done <= slots; done += step) {
      words[RING_REQ_PROD] = first + done;
      this.#drain(this.#fromGuest, step);
    }
    return gauge() - start;
  }

  toGuest(frames: number, step: number, gauge: Gauge = clockNs): number {
    attach(this.#rxRing);
    const start = gauge();
    for (let done = step; done <= frames; done += step) {
      this.#source.offered = step;
      this.#drain(this.#toGuest, step);
    }
    return gauge() - start;
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

  /** @throws when a hook failed. */
  close(): void {
    const { fromGuest, toGuest } = this.counters;
    if (fromGuest.hookErrors + toGuest.hookErrors > 0) throw new Error('a hook failed');
    for (const batch of this.#fromGuest.batches) batch[Symbol.dispose]();
    this.#toGuest.grants[Symbol.dispose]();
    this.#staged[Symbol.dispose]();
    for (const ring of this.#rings) ring.unmap();
    this.#memory.close();
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

  #drain(pump: { pump(notify: () => void): PumpResult }, slots: number): void {
    let result: PumpResult = 'more';
    while (result === 'more') result = pump.pump(this.#notify);
    if (this.#afterBatch !== undefined) this.#afterBatch(slots);
    if (result !== 'idle') throw new Error('stop' in result ? result.stop : 'throttled');
  }
}

function clockNs(): number {
  return Number(process.hrtime.bigint());
}

function stage(staged: StagedGrants, guest: BenchGuest): void {
  const taken = staged.add(guest.txRefs, 'read') && staged.add(guest.rxRefs, 'write');
  if (!taken) throw new Error('cannot stage the grants');
}

function attach(ring: BackRing): void {
  if (!ring.attach()) throw new Error('cannot attach to the ring');
}
