import type { FrameBatch } from '../../ports/frame-batch.js';
import type { Port, PortIo, QueuePlace } from '../../ports/port.js';
import { UndoStack } from '../../undo.js';
import type { EventChannel, Xen } from '../../xen/seam.js';
import type { HostFaultListener } from '../faults/host-faults.js';
import { type Batches, newBatches } from '../frames/batch-memory.js';
import { type GuestCapabilities, takesOf } from '../frames/conform.js';
import type { FlowCounters } from '../frames/counters.js';
import type { Direction } from '../frames/frame.js';
import type { Hooks } from '../frames/hooks.js';
import type { CreditTurn } from '../guest/credit-turns.js';
import type { HashState } from '../guest/hash.js';
import type { MulticastFilter } from '../guest/multicast.js';
import { forgetStaged, STAGING_WORDS, Staging } from '../guest/staging.js';
import type { LoopShare } from '../ring/loop-shares.js';
import type { PumpResult } from '../ring/turns.js';
import { Worker, type WorkerParts } from '../ring/turns.js';
import type { FrontendSettings, PayloadMode, QueueSettings } from '../settings.js';
import type { QueueDetails } from '../show.js';
import type { QueueJournal } from '../state/queue-journal.js';
import { FromGuest } from './from-guest.js';
import { Patience, type StallListener } from './patience.js';
import type { QueueRings } from './queue-rings.js';
import type { Steering } from './steering.js';
import { ToGuest } from './to-guest.js';

export interface QueueParts {
  readonly xen: Xen;
  readonly domid: number;
  readonly settings: FrontendSettings;
  readonly rings: QueueRings;
  readonly port: Port;
  /** Which of the port's queues it is. */
  readonly place: QueuePlace;
  /** An earlier life served the guest's connection. */
  readonly resumed: boolean;
  readonly journal: QueueJournal | undefined;
  readonly payload: PayloadMode;
  readonly hooks: Hooks;
  /** What the queues of a vif have in common. */
  readonly multicast: MulticastFilter;
  readonly hash: HashState;
  /** Undefined for a guest that cannot choose the queues of its frames. */
  readonly steering: Steering | undefined;
  /** How far earlier lives have answered control requests; undefined: none was ever answered. */
  readonly answered: number | undefined;
  readonly credit: CreditTurn;
  readonly share: LoopShare;
  readonly capabilities: GuestCapabilities;
  readonly fromGuest: FlowCounters;
  readonly toGuest: FlowCounters;
  /** The guest broke the protocol; the queue has let go of nothing yet. */
  readonly onStop: (reason: string) => void;
  readonly onFailure: WorkerParts['onFailure'];
  /** A listener for one part of the connection. */
  readonly hostFaultsOf: (part: string) => HostFaultListener;
  readonly stalls: StallListener;
}

/** The data path of one queue: both rings, their event channels, and the port. It exists while attached. */
export class Queue {
  readonly #patience: Patience;
  readonly #settings: QueueSettings;
  /** Grants that the guest keeps mapped for this queue; undefined for a guest without a control ring. */
  readonly staging: Staging | undefined;
  readonly #undo: UndoStack;
  readonly #hostFaultsOf: QueueParts['hostFaultsOf'];
  readonly #fromGuest: Worker;
  readonly #toGuest: Worker;
  readonly #dropOld: () => void;
  readonly #channels: EventChannel[] = [];
  #show: (() => Pick<QueueDetails, 'fromGuest' | 'toGuest' | 'heldFrames'>) | undefined;
  #masked = 0;
  #detached = false;

  /**
   * Goes on where the rings stand, binds the event channels, and looks at both rings at once: what was sent before the
   * channels were bound is lost, as is what was notified.
   * @throws VifdError ERR_XEN_GRANT, ERR_XEN_EVENT, ERR_PROTOCOL; ERR_HOST, to be tried again. Nothing is held then.
   */
  constructor(parts: QueueParts) {
    this.#settings = parts.rings.settings;
    this.#hostFaultsOf = parts.hostFaultsOf;
    this.#undo = new UndoStack(parts.hostFaultsOf('detaching'));
    this.#patience = new Patience(parts.xen.clock, parts.settings.rxNotify, parts.stalls);
    this.staging = newStaging(parts);
    this.#undo.defer(() => this.staging?.[Symbol.dispose]());
    try {
      if (parts.answered === undefined) this.staging?.begin();
      else this.staging?.resume(parts.answered);
      const pumps = this.#attach(parts);
      const io = this.#openPort(parts, pumps);
      pumps.fromGuest.start(io, parts.port.writesMapped);
      pumps.toGuest.start(io, () => this.#toGuest?.rouseNext());
      this.#dropOld = () => dropFrames(io, pumps.toGuest.frames, parts.toGuest);
      const notify = this.#bind(parts);
      this.#fromGuest = this.#worker(parts, 'from-guest', () => pumps.fromGuest.pump(notify.tx));
      this.#toGuest = this.#worker(parts, 'to-guest', () => pumps.toGuest.pump(notify.rx));
      this.#undo.defer(() => this.#fromGuest.end());
      this.#undo.defer(() => this.#toGuest.end());
    } catch (error) {
      this.#end();
      throw this.#undo.after(error);
    }
  }

  #worker(parts: QueueParts, direction: Direction, pump: () => PumpResult): Worker {
    const { share, onStop, onFailure } = parts;
    return new Worker({
      pump,
      clock: parts.xen.clock,
      share,
      onIdle: () => this.#unmaskIfIdle(),
      onStop,
      onFailure,
      onHostFault: this.#hostFaultsOf(direction),
    });
  }

  show(): Omit<QueueDetails, 'stats'> | undefined {
    const shown = this.#show?.();
    const stagedGrants = this.staging?.size ?? 0;
    return shown && { ...this.#settings, ...shown, stagedGrants, stalled: this.#patience.stalled };
  }

  /** The guest may send something else from now on. */
  hurry(): void {
    this.#fromGuest.hurry();
  }

  /** Drops the frames that wait in the port, and counts them. No hook sees them. Call it before `start`. */
  dropOld(): void {
    this.#dropOld();
  }

  /** Begins to move frames. Both channels are notified once: the guest may have waited for an earlier life's event. */
  start(): void {
    for (const channel of this.#channels) channel.notify();
    this.#fromGuest.start();
    this.#toGuest.start();
  }

  /** Lets go of the guest, which stays connected. All that was taken has been answered: pumps end at frame boundaries. */
  detach(): void {
    this.#end();
    this.#undo[Symbol.dispose]();
  }

  #attach(parts: QueueParts): { fromGuest: FromGuest; toGuest: ToGuest } {
    const { rings, domid } = parts;
    const { grants } = parts.xen;
    const frames = this.#frames(parts);
    const { payload, hooks, multicast, share } = parts;
    const common = { grants, domid, payload, hooks, multicast, share, staged: this.staging?.grants };
    const fromGuest = new FromGuest({
      ...common,
      ring: rings.fromGuest,
      frames: frames.fromGuest,
      credit: parts.credit,
      clock: parts.xen.clock,
      counters: parts.fromGuest,
      onPortFault: parts.hostFaultsOf('writing'),
    });
    for (const batch of fromGuest.batches) this.#undo.defer(() => batch[Symbol.dispose]());
    const toGuest = new ToGuest({
      ...common,
      ring: rings.toGuest,
      frames: frames.toGuest,
      capabilities: parts.capabilities,
      hash: parts.hash,
      counters: parts.toGuest,
      patience: this.#patience,
      steering: parts.steering,
      afterStore: parts.xen.step?.bind(parts.xen, 'store to shared memory'),
    });
    this.#undo.defer(() => toGuest.grants[Symbol.dispose]());
    this.#show = () => ({
      fromGuest: rings.fromGuest.indices(),
      toGuest: rings.toGuest.indices(),
      heldFrames: toGuest.held.size,
    });
    return { fromGuest, toGuest };
  }

  /** The journal's, or memory that ends with the connection. */
  #frames({ journal, xen }: QueueParts): Pick<Batches, Exclude<keyof Batches, 'end'>> {
    if (journal !== undefined)
      return { fromGuest: journal.fromGuest.frames, toGuest: journal.toGuest.frames };
    const batches = newBatches((bytes) => xen.grants.arena(bytes));
    this.#undo.defer(() => batches.end());
    return batches;
  }

  #openPort(parts: QueueParts, pumps: { fromGuest: FromGuest; toGuest: ToGuest }): PortIo {
    const { settings } = parts;
    const io = parts.port.open(
      { writes: pumps.fromGuest.frames, reads: pumps.toGuest.frames, mapped: pumps.fromGuest.grants },
      {
        ...takesOf(settings),
        resumed: parts.resumed,
        queue: parts.place,
        onReadable: () => {
          pumps.toGuest.offer();
          this.#toGuest?.wake();
        },
      },
    );
    this.#undo.defer(() => io.close());
    return io;
  }

  /** @returns how to notify the guest of responses in each ring. */
  #bind(parts: QueueParts): { tx: () => void; rx: () => void } {
    const { txPort, rxPort } = this.#settings;
    if (txPort === rxPort) {
      const channel = this.#channel(parts, txPort, () => {
        this.#fromGuest.wake();
        this.#toGuest.rouse();
      });
      return { tx: () => channel.notify(), rx: () => channel.notify() };
    }
    const tx = this.#channel(parts, txPort, () => this.#fromGuest.wake());
    const rx = this.#channel(parts, rxPort, () => this.#toGuest.rouse());
    return { tx: () => tx.notify(), rx: () => rx.notify() };
  }

  #channel(parts: QueueParts, port: number, wake: () => void): EventChannel {
    const bit = 1 << this.#channels.length;
    const onEvent = () => {
      this.#masked |= bit;
      wake();
      this.#unmaskIfIdle();
    };
    const channel = parts.xen.events.bind(parts.domid, port, onEvent, this.#hostFaultsOf(`channel ${bit}`));
    this.#channels.push(channel);
    this.#undo.defer(() => channel.close());
    return channel;
  }

  /** Events stay masked while we work (late EOI, XSA-332): a guest that storms gets one event for a turn's work. */
  #unmaskIfIdle(): void {
    if (this.#detached || !this.#fromGuest.idle || !this.#toGuest.idle) return;
    for (let i = 0; i < this.#channels.length; i++) {
      if ((this.#masked & (1 << i)) !== 0) this.#channels[i].unmask();
    }
    this.#masked = 0;
  }

  #end(): void {
    this.#detached = true;
    this.#show = undefined;
  }
}

/**
 * How many reads `dropOld` makes at most. A tap's queue holds 2,048 frames (ports/tap-limit.ts), and a read takes at least one. Frames that
 * a port of an embedder's own has after these reads, or gets meanwhile, go to the guest.
 */
const OLD_READS_MAX = 4096;

function dropFrames(io: PortIo, reads: FrameBatch, counters: FlowCounters): void {
  for (let round = 0; round < OLD_READS_MAX; round++) {
    const frames = io.read();
    counters.dropped += frames;
    if (frames === 0) break;
  }
  reads.count = 0;
}

function newStaging({ xen, domid, journal, settings }: QueueParts): Staging | undefined {
  if (settings.control === undefined) {
    // Whoever has one later with the same rings must not find another guest's.
    if (journal !== undefined) forgetStaged(journal.staging);
    return undefined;
  }
  const words = journal?.staging ?? new Uint32Array(STAGING_WORDS);
  return new Staging(words, xen.grants.staged(domid), xen.step?.bind(xen, 'store to the journal'));
}
