import { DurableWords } from '../../durable/durable-words.js';
import { STAGED_BANKS } from '../../durable/layout.js';
import type { FrameBatch } from '../../ports/frame-batch.js';
import type { Port, PortIo, QueuePlace } from '../../ports/port.js';
import { UndoStack } from '../../undo.js';
import type { Xen } from '../../xen/seam.js';
import type { SendingFault } from '../faults/host-faults.js';
import { type Batches, newBatches } from '../frames/batch-memory.js';
import { type GuestCapabilities, guestOffloads } from '../frames/conform.js';
import type { FlowCounters } from '../frames/counters.js';
import type { Hooks } from '../frames/hooks.js';
import type { SentFrames } from '../frames/sent-frames.js';
import type { CreditTurn } from '../guest/credit-turns.js';
import type { HashState } from '../guest/hash.js';
import type { MulticastFilter } from '../guest/multicast.js';
import { forgetStaged, Staging } from '../guest/staging.js';
import type { LoopShare } from '../ring/loop-shares.js';
import { RingService, type RingServiceParts } from '../ring/ring-service.js';
import type { Turns } from '../ring/turns.js';
import type { FrontendSettings, PayloadMode, QueueSettings } from '../settings.js';
import type { QueueDetails } from '../show.js';
import type { QueueJournal } from '../state/queue-journal.js';
import { FromGuest } from './from-guest.js';
import type { QueueRings } from './queue-rings.js';
import type { SortingGroup } from './sorting.js';
import { type StallListener, ToGuest } from './to-guest.js';

export interface QueueParts {
  readonly xen: Xen;
  readonly events: RingServiceParts['events'];
  readonly domid: number;
  readonly settings: FrontendSettings;
  readonly rings: QueueRings;
  readonly port: Port;
  /** Which of the port's queues this queue uses. */
  readonly place: QueuePlace;
  /** Whether a previous process has served this connection of the guest. */
  readonly resumed: boolean;
  readonly journal: QueueJournal | undefined;
  readonly payload: PayloadMode;
  readonly hooks: Hooks;
  /** Frames of the program for this guest; the first queue is woken for them. */
  readonly sent: SentFrames;
  /** The multicast list, which all queues of a vif share. */
  readonly multicast: MulticastFilter;
  readonly hash: HashState;
  /** Undefined for a guest that cannot choose the queues of its frames. */
  readonly sorting: SortingGroup | undefined;
  /** The index up to which previous processes have responded to control requests; undefined if to none. */
  readonly responded: number | undefined;
  readonly credit: CreditTurn;
  readonly share: LoopShare;
  readonly capabilities: GuestCapabilities;
  readonly fromGuest: FlowCounters;
  readonly toGuest: FlowCounters;
  readonly onStop: RingServiceParts['onStop'];
  readonly onFailure: RingServiceParts['onFailure'];
  readonly hostFaultsOf: RingServiceParts['hostFaultsOf'];
  /** Of the port, which all queues of a vif share. */
  readonly sendingFault: SendingFault;
  readonly stalls: StallListener;
}

/** The data path of one queue: both rings, their event channels, and the port. It exists while attached. */
export class Queue {
  readonly #settings: QueueSettings;
  /** Grants that the guest keeps mapped for this queue; undefined for a guest without a control ring. */
  readonly staging: Staging | undefined;
  readonly #undo: UndoStack;
  readonly #service: RingService;
  /** Undefined until the rings are served. The port, which is opened earlier, may have frames before that. */
  readonly #fromGuest: Turns | undefined;
  readonly #toGuest: Turns | undefined;
  readonly #dropOld: () => void;
  #show: (() => Pick<QueueDetails, 'fromGuest' | 'toGuest' | 'pendingFrames' | 'stalled'>) | undefined;

  /**
   * Maps both rings, resumes each at its indices, and binds the event channels. `start` reads both rings at once, because events from before
   * the channels were bound are lost.
   * @throws VifdError ERR_XEN_GRANT, ERR_XEN_EVENT, ERR_PROTOCOL; ERR_HOST: try again later. After a throw no page is mapped and no channel
   *   is bound.
   */
  constructor(parts: QueueParts) {
    this.#settings = parts.rings.settings;
    this.#undo = new UndoStack(parts.hostFaultsOf('detaching'));
    this.staging = newStaging(parts);
    this.#undo.defer(() => this.staging?.[Symbol.dispose]());
    try {
      if (parts.responded === undefined) this.staging?.begin();
      else this.staging?.resume(parts.responded);
      const pumps = this.#attach(parts);
      const io = this.#openPort(parts, pumps);
      pumps.fromGuest.start(io, parts.port.writesMapped);
      pumps.toGuest.start(io, () => this.#toGuest?.rouseNext());
      this.#dropOld = () => dropFrames(io, pumps.toGuest.frames, parts.toGuest);
      this.#service = this.#undo.use(this.#serve(parts, pumps));
      [this.#fromGuest, this.#toGuest] = this.#service.turns;
    } catch (error) {
      throw this.#undo.after(error);
    }
  }

  #serve(parts: QueueParts, pumps: { fromGuest: FromGuest; toGuest: ToGuest }): RingService {
    const { txPort, rxPort } = this.#settings;
    const fromGuest = (notify: () => void) => pumps.fromGuest.pump(notify);
    const toGuest = (notify: () => void) => pumps.toGuest.pump(notify);
    return new RingService({
      ...parts,
      clock: parts.xen.clock,
      pumps: [
        { name: 'from-guest', port: txPort, run: fromGuest },
        { name: 'to-guest', port: rxPort, run: toGuest, eventsEndWaits: true },
      ],
    });
  }

  show(): Omit<QueueDetails, 'stats'> | undefined {
    const shown = this.#show?.();
    if (shown === undefined) return undefined;
    const { stalled, ...rings } = shown;
    return { ...this.#settings, ...rings, stagedGrants: this.staging?.size ?? 0, stalled };
  }

  /** Gives the from-guest direction a turn, because the guest's rate has changed. */
  hurry(): void {
    this.#fromGuest?.hurry();
  }

  /** Drops the frames that wait in the port, and counts them. No hook sees them. Call it before `start`. */
  dropOld(): void {
    this.#dropOld();
  }

  /** Begins to move frames. */
  start(): void {
    this.#service.start();
  }

  /**
   * Detaches from the guest, which stays connected. vifd has responded to all requests that it took, since pumps end between two frames.
   */
  detach(): void {
    this.#show = undefined;
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
      fault: parts.sendingFault,
    });
    for (const batch of fromGuest.batches) this.#undo.defer(() => batch[Symbol.dispose]());
    const toGuest = new ToGuest({
      ...common,
      ring: rings.toGuest,
      frames: frames.toGuest,
      capabilities: parts.capabilities,
      hash: parts.hash,
      // By one queue, so that they stay in order.
      sent: parts.place.index === 0 ? parts.sent : undefined,
      counters: parts.toGuest,
      clock: parts.xen.clock,
      rxNotify: parts.settings.rxNotify,
      stalls: parts.stalls,
      sorting: parts.sorting,
      afterStore: parts.xen.step?.bind(parts.xen, 'store to shared memory'),
    });
    this.#undo.defer(() => toGuest.grants[Symbol.dispose]());
    this.#show = () => ({
      fromGuest: rings.fromGuest.indices(),
      toGuest: rings.toGuest.indices(),
      pendingFrames: toGuest.pendingFrames,
      stalled: toGuest.stalled,
    });
    return { fromGuest, toGuest };
  }

  /** Returns the memory for frames: the journal's, or memory that ends with the connection. */
  #frames({ journal, xen }: QueueParts): Pick<Batches, Exclude<keyof Batches, 'end'>> {
    if (journal !== undefined)
      return { fromGuest: journal.fromGuest.frames, toGuest: journal.toGuest.frames };
    const batches = newBatches((bytes) => xen.grants.arena(bytes));
    this.#undo.defer(() => batches.end());
    return batches;
  }

  #openPort(parts: QueueParts, pumps: { fromGuest: FromGuest; toGuest: ToGuest }): PortIo {
    const { settings } = parts;
    const wake = () => {
      pumps.toGuest.offer();
      this.#toGuest?.wake();
    };
    const io = parts.port.open(
      { writes: pumps.fromGuest.frames, reads: pumps.toGuest.frames, mapped: pumps.fromGuest.grants },
      {
        ...guestOffloads(settings),
        resumed: parts.resumed,
        queue: parts.place,
        onReadable: wake,
      },
    );
    if (parts.place.index === 0)
      this.#undo.use(parts.sent.open(wake, (frames) => parts.toGuest.drop('detached', frames)));
    this.#undo.defer(() => io.close());
    return io;
  }
}

/**
 * How many reads `dropOld` makes at most. A tap's queue has room for 2,048 frames (ports/tap-limit.ts), and a read takes at least one. If an
 * embedder's port still has frames after these reads, or gets some meanwhile, they go to the guest.
 */
const OLD_READS_MAX = 4096;

function dropFrames(io: PortIo, reads: FrameBatch, counters: FlowCounters): void {
  for (let round = 0; round < OLD_READS_MAX; round++) {
    const frames = io.read();
    counters.drop('stale', frames);
    if (frames === 0) break;
  }
  reads.count = 0;
}

function newStaging({ xen, domid, journal, settings }: QueueParts): Staging | undefined {
  if (settings.control === undefined) {
    // A later connection with the same ring references must not find this guest's grants.
    if (journal !== undefined) forgetStaged(journal.staging);
    return undefined;
  }
  const words = journal?.staging ?? DurableWords.ofProcess(STAGED_BANKS.words);
  return new Staging(words, xen.grants.staged(domid));
}
