import { VifdError } from '../../errors.js';
import type { Port } from '../../ports/port.js';
import { UndoStack } from '../../undo.js';
import type { Clock, Xen } from '../../xen/seam.js';
import { HostFaults, SendingFault } from '../faults/host-faults.js';
import type { FaultListener } from '../faults/present-faults.js';
import { Conform, type GuestCapabilities, guestOffloads } from '../frames/conform.js';
import type { QueueCounters, VifStats } from '../frames/counters.js';
import type { Hooks } from '../frames/hooks.js';
import type { SentFrames } from '../frames/sent-frames.js';
import { Control } from '../guest/control.js';
import { Credit, type Rate } from '../guest/credit.js';
import { CreditTurns } from '../guest/credit-turns.js';
import type { GuestBudget } from '../guest/guest-budget.js';
import { HashState } from '../guest/hash.js';
import { MulticastFilter } from '../guest/multicast.js';
import { Queue } from '../queue/queue.js';
import { QueueRings } from '../queue/queue-rings.js';
import { SortingGroup } from '../queue/sorting.js';
import type { FrontendSettings, PayloadMode } from '../settings.js';
import { type ConnectionDetails, hashDetailsOf, negotiatedOf } from '../show.js';
import type { ConnectionJournals } from '../state/connection-journals.js';
import { recordNegotiated } from '../state/negotiated.js';
import { FRESH_AFTER_ANOTHER } from '../state/vif-journal.js';
import { type Resumption, resumptionOf } from './resumption.js';
import { Stalls } from './stalls.js';
import type { ConnectionChannels } from './vif-parts.js';

export interface ConnectionParts {
  readonly xen: Xen;
  /** The connection owns them from then on. Undefined: those of `xen`. */
  readonly channels: ConnectionChannels | undefined;
  readonly domid: number;
  readonly settings: FrontendSettings;
  readonly rate: Rate | undefined;
  readonly port: Port;
  /** Sets the port's link. @returns whether that succeeded. */
  readonly setLink: (up: boolean) => boolean;
  /** Whether this process knows that the frames in the port were sent to this connection. */
  readonly isKnown: boolean;
  /** Whether the vif was Connected when vifd found it: then an earlier process served this connection or the one before it. */
  readonly foundConnected: boolean;
  readonly journals: ConnectionJournals;
  readonly payload: PayloadMode;
  readonly hooks: Hooks;
  readonly sent: SentFrames;
  readonly budget: GuestBudget;
  readonly counters: (queue: number) => QueueCounters;
  /** Called when the guest broke the protocol in one queue; the connection is still attached. */
  readonly onStop: (reason: string) => void;
  /** Called when the host fails a call, for no fault of the guest, and when the call works again: vifd tries again until then. */
  readonly hostFaults: FaultListener;
  /** Called when the connection cannot continue, for no fault of the guest, because its memory is gone or because of a bug. */
  readonly onFailure: (error: VifdError) => void;
  /**
   * Called when the guest takes no frames by a queue. The queue resumes by itself when the guest does. With all queues stalled the link is
   * down.
   */
  readonly onStall: (queue: number, linkDown: boolean) => void;
  /** Called when the guest takes frames by that queue again. */
  readonly onRecovery: (queue: number) => void;
}

/** The connection of an attached guest: its queues, and the state that they share. */
export class Connection {
  readonly multicast: MulticastFilter;
  /** How the guest wants frames hashed. */
  readonly hash: HashState;
  readonly queues: readonly Queue[];
  readonly #resumption: Resumption;
  readonly #rings: QueueRings[] = [];
  /** Undefined for a guest without a control ring. */
  readonly #control: Control | undefined;
  readonly #sorting: SortingGroup | undefined;
  readonly #credit: Credit;
  readonly #turns: CreditTurns;
  readonly #stalls: Stalls;
  readonly #clock: Clock;
  readonly #capabilities: GuestCapabilities;
  readonly #parts: ConnectionParts;
  readonly #attachedMs: number;
  readonly #hostFaults: HostFaults;
  readonly #sendingFault: SendingFault;

  /**
   * Attaches to all queues, or to none. The connection owns the journals from then on.
   * @throws VifdError ERR_XEN_GRANT, ERR_XEN_EVENT, ERR_PROTOCOL; ERR_HOST: try again later. After a throw nothing is mapped or bound.
   */
  constructor(parts: ConnectionParts) {
    const { settings, journals } = parts;
    const { scatterGather, xdpHeadroom } = settings;
    this.#parts = parts;
    this.#hostFaults = new HostFaults(parts.hostFaults);
    this.#sendingFault = new SendingFault(this.#hostFaults.of('sending'));
    this.#clock = parts.xen.clock;
    this.#attachedMs = this.#clock.now();
    this.#capabilities = { scatterGather, xdpHeadroom, conform: new Conform(guestOffloads(settings)) };
    this.#credit = new Credit(journals.vif.credit);
    this.#credit.limit(parts.rate, this.#clock.now());
    this.#turns = new CreditTurns(this.#credit);
    this.#stalls = new Stalls(parts.setLink, settings.queues.length);
    this.multicast = new MulticastFilter(journals.vif.multicast);
    this.multicast.requested = settings.multicastControl;
    const queues: Queue[] = [];
    this.queues = queues;
    this.hash = new HashState(journals.vif.hash, settings.queues.length);
    try {
      this.#control = this.#attachControl(parts);
      for (let index = 0; index < settings.queues.length; index++)
        this.#rings.push(this.#named(index, () => this.#attachRings(parts, index)));
      this.#resumption = this.#decide(parts);
      if (this.#resumption.controlWrap === 'anew') this.#control?.begin();
      if (this.#resumption.hash === 'anew') this.hash.begin();
      // A guest with a control ring may choose the queue of each frame.
      const chooses = settings.control !== undefined && settings.queues.length > 1;
      this.#sorting = chooses ? new SortingGroup(this.hash, this.#clock) : undefined;
      for (let index = 0; index < settings.queues.length; index++)
        queues.push(this.#named(index, () => this.#attach(parts, index)));
    } catch (error) {
      throw this.#releaseAll().after(error);
    }
    if (this.#resumption.multicast === 'anew') this.multicast.begin();
    const { resumes } = journals.vif;
    resumes.store(0, this.resumed ? resumes.view[0] + 1 : 0);
    parts.channels?.keep();
  }

  /** Whether an earlier process or this one has served this connection before. */
  get resumed(): boolean {
    return this.#resumption.resumed;
  }

  /** Sets the rate at which the guest may send from now on, by all queues together. */
  set rate(rate: Rate | undefined) {
    this.#credit.limit(rate, this.#clock.now());
    for (const queue of this.queues) queue.hurry();
  }

  /** Sets how many bytes the guest wants free in front of frames, from the next frame on. */
  set xdpHeadroom(bytes: number) {
    this.#capabilities.xdpHeadroom = bytes;
    this.#recordChange();
  }

  /** Sets whether the guest asks for multicast control, from the next frame on. */
  set multicastControl(requested: boolean) {
    this.multicast.requested = requested;
    this.#recordChange();
  }

  /** Records the headroom and multicast control, which a guest may change while it is connected. */
  #recordChange(): void {
    const { settings, journals } = this.#parts;
    const { negotiated } = journals.vif;
    const { xdpHeadroom } = this.#capabilities;
    const { requested: multicastControl } = this.multicast;
    if (negotiated !== undefined)
      recordNegotiated(negotiated, { ...settings, xdpHeadroom, multicastControl });
  }

  /** @param stats of each queue. */
  show(stats: readonly VifStats[]): ConnectionDetails {
    const { settings, journals, payload } = this.#parts;
    const { rate } = this.#credit;
    const leftBytes = this.#credit.available(this.#clock.now());
    return {
      attachedMs: this.#clock.now() - this.#attachedMs,
      resumes: journals.vif.resumes.view[0],
      payload,
      journal: journals.queues.every((journal) => journal !== undefined),
      negotiated: negotiatedOf(settings),
      xdpHeadroom: this.#capabilities.xdpHeadroom,
      rate: rate && { ...rate, leftBytes },
      multicast: {
        requested: this.multicast.requested,
        filtering: this.multicast.active,
        addresses: this.multicast.addresses(),
      },
      hash: this.#control && hashDetailsOf(this.hash),
      queues: this.queues.flatMap((queue, index) => {
        const shown = queue.show();
        return shown === undefined ? [] : [{ ...shown, stats: stats[index] }];
      }),
    };
  }

  /**
   * Starts to move frames. Before that, it drops the frames that were sent to the port before this connection, to no guest or to the
   * guest's previous connection.
   */
  start(): void {
    if (this.#resumption.dropsOld) for (const queue of this.queues) queue.dropOld();
    this.#parts.journals.vif.fresh.commit(0, 0);
    this.#stalls.begin();
    this.#control?.start();
    for (const queue of this.queues) queue.start();
  }

  /** Whether vifd could attach anew without a journal and lose nothing, because no frame is pending and no grant is staged. */
  get quiet(): boolean {
    return this.queues.every((queue) => {
      const shown = queue.show();
      return shown === undefined || (shown.pendingFrames === 0 && shown.stagedGrants === 0);
    });
  }

  /** Detaches from the guest, which stays connected, and unmaps all of the guest's pages. */
  detach(): void {
    this.#releaseAll()[Symbol.dispose]();
  }

  /** @returns the steps that release all mappings, event channels and memory of the connection. */
  #releaseAll(): UndoStack {
    const { channels, journals } = this.#parts;
    this.#hostFaults.clear();
    // The step that is deferred last runs first.
    const undo = new UndoStack(this.#hostFaults.of('detaching'));
    undo.defer(() => channels?.[Symbol.dispose]());
    undo.defer(() => journals.close());
    for (const rings of this.#rings) undo.use(rings);
    for (const queue of this.queues) undo.defer(() => queue.detach());
    undo.defer(() => this.#control?.detach());
    return undo;
  }

  #decide({ journals, isKnown, foundConnected }: ConnectionParts): Resumption {
    const { fresh, ignored } = journals.vif;
    return resumptionOf({
      queuesServed: this.#rings.some(({ served }) => served),
      control: this.#control,
      fresh: fresh.view[0] !== 0,
      // An earlier process may have found that, and have been killed before it dropped the frames of the other connection.
      ignored: fresh.view[0] === FRESH_AFTER_ANOTHER ? 'foreign' : ignored,
      isKnown,
      foundConnected,
    });
  }

  #attachControl({
    xen,
    channels,
    domid,
    settings,
    journals,
    budget,
    onStop,
    onFailure,
  }: ConnectionParts): Control | undefined {
    const { control } = settings;
    if (control === undefined) return undefined;
    const stagingOf = (queue: number) => this.queues[queue]?.staging;
    const { control: log, controlWrapped: wrapped } = journals.vif;
    return new Control({
      xen,
      events: channels?.events ?? xen.events,
      domid,
      settings: control,
      log,
      wrapped,
      hash: this.hash,
      budget,
      stagingOf,
      onStop,
      onFailure,
      hostFaultsOf: (part) => this.#hostFaults.of(part),
    });
  }

  #attachRings({ xen, domid, settings, journals }: ConnectionParts, index: number): QueueRings {
    return new QueueRings({
      xen,
      domid,
      settings: settings.queues[index],
      journal: journals.queues[index],
      onFault: this.#hostFaults.of(`rings ${index}`),
    });
  }

  #attach(parts: ConnectionParts, index: number): Queue {
    const { xen, channels, settings, journals } = parts;
    return new Queue({
      ...parts,
      events: channels?.events ?? xen.events,
      ...parts.counters(index),
      share: parts.budget.loop,
      rings: this.#rings[index],
      place: { index, count: settings.queues.length },
      resumed: this.resumed,
      journal: journals.queues[index],
      multicast: this.multicast,
      hash: this.hash,
      sorting: this.#sorting,
      responded: this.#resumption.stagedAfter,
      credit: this.#turns.of(index),
      capabilities: this.#capabilities,
      stalls: {
        onStall: () => parts.onStall(index, this.#stalls.add(index)),
        onRecovery: () => {
          this.#stalls.remove(index);
          parts.onRecovery(index);
        },
      },
      onStop: (reason) => parts.onStop(`${this.#nameOf(index)}${reason}`),
      hostFaultsOf: (part) => this.#hostFaults.of(`queue ${index} ${part}`),
      sendingFault: this.#sendingFault,
    });
  }

  /** Runs a function for a queue, and adds the queue to the message of an error. */
  #named<T>(index: number, run: () => T): T {
    try {
      return run();
    } catch (error) {
      const name = this.#nameOf(index);
      if (name === '' || !(error instanceof VifdError)) throw error;
      const { code, errno } = error;
      throw new VifdError(code, `${name}${error.message}`, {
        cause: error,
        ...(errno === undefined ? {} : { errno }),
      });
    }
  }

  /** @returns the prefix for messages about a queue; empty if the guest has one queue. */
  #nameOf(index: number): string {
    return this.#parts.settings.queues.length > 1 ? `queue ${index}: ` : '';
  }
}
