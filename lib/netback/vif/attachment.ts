import { Backoff } from '../../backoff.js';
import type { Journals } from '../../durable/journal.js';
import type { JournalVersion } from '../../durable/layout.js';
import { VifdError, vifdErrorOf } from '../../errors.js';
import type { Port } from '../../ports/port.js';
import type { Xen } from '../../xen/seam.js';
import type { VifCounters } from '../frames/counters.js';
import type { Hooks } from '../frames/hooks.js';
import type { SentFrames } from '../frames/sent-frames.js';
import { Allowance } from '../guest/allowance.js';
import type { Rate } from '../guest/credit.js';
import type { GuestBudget } from '../guest/guest-budget.js';
import type { PayloadMode } from '../settings.js';
import { type FrontendSettings, ringsOf } from '../settings.js';
import { isSameNegotiated } from '../state/negotiated.js';
import type { VifAddress } from '../vif-info.js';
import { Connection } from './connection.js';
import { ConnectionFaults } from './connection-faults.js';
import { ConnectionPacing } from './connection-pacing.js';
import type { Handshake } from './handshake.js';
import { JournalUpkeep } from './journal-upkeep.js';
import type { VifFaults } from './vif-faults.js';
import type { AttachedHow, DetachReason, OpenChannels } from './vif-parts.js';
import type { VifPort } from './vif-port.js';

export interface AttachmentParts {
  readonly vif: VifAddress;
  readonly xen: Xen;
  readonly openChannels: OpenChannels | undefined;
  readonly journals: Journals | undefined;
  readonly journalVersion: JournalVersion;
  readonly payload: PayloadMode;
  readonly port: VifPort;
  readonly faults: VifFaults;
  readonly hooks: Hooks;
  readonly sent: SentFrames;
  readonly budget: GuestBudget;
  /** Whether an earlier process served the guest. */
  readonly wasConnected: boolean;
  readonly counters: VifCounters;
  readonly onAttached: (how: AttachedHow) => void;
  readonly onDetached: (why: DetachReason) => void;
  /** Called when a guest that was stalled takes frames again by this queue. */
  readonly onRecovered: (queue: number) => void;
  readonly onError: (error: VifdError) => void;
  /** Called when a connection that had to wait for the guest's budget may be served. */
  readonly onAdmission: () => void;
}

/**
 * After this many failures the pauses between attaches grow. A hook that unmaps a connection's memory in each batch would cause endless
 * attaches.
 */
const FAILURES_AT_ONCE = 5;
const FAILURE_EVERY_MS = 1000;

/** The reasons with which the vif itself ends in this process. */
const OF_VIF: ReadonlySet<DetachReason> = new Set(['shutdown', 'guest-gone', 'released']);

/** A vif's connection to its guest: attaches when the guest's keys name a connection, and stops, releases or ends it. */
export class Attachment {
  readonly #parts: AttachmentParts;
  readonly #journals: JournalUpkeep;
  readonly #pacing: ConnectionPacing;
  readonly #faults: ConnectionFaults;
  #connection: Connection | undefined;
  /** The rings of the connection that is served, or that was served until it was stopped. */
  #rings: string | undefined;
  #reason: string | undefined;
  #rate: Rate | undefined;
  readonly #failures: Allowance;
  /** Whether the connection failed. Then `#again` attaches to it after a pause, and no look at the store does so earlier. */
  #resting = false;
  #released = false;
  /** The rings of the connection that this process has begun. */
  #begun: string | undefined;
  /** Whether the vif was Connected when vifd found it and the guest has not closed since. */
  #served: boolean;
  /**
   * The settings of the connection that is served, or that was served until its port was lost, while no other attempt to attach is under
   * way.
   */
  #settings: FrontendSettings | undefined;
  /** Whether the settings are those of a journal, and the guest's keys were not read yet. */
  #isRecorded = false;
  /** Attaches again without the store, which may be away. */
  readonly #again: Backoff;

  constructor(parts: AttachmentParts) {
    const { vif, xen, journals, budget, faults, onError, onAdmission } = parts;
    const { clock } = xen;
    this.#parts = parts;
    this.#served = parts.wasConnected;
    this.#failures = new Allowance(clock, FAILURES_AT_ONCE, FAILURE_EVERY_MS);
    this.#again = new Backoff(clock, () => {
      this.#resting = false;
      void this.attachAgain();
    });
    this.#pacing = new ConnectionPacing({ clock, budget, faults, onAdmission });
    this.#faults = new ConnectionFaults(faults, xen);
    this.#journals = new JournalUpkeep({
      vif,
      journals,
      version: parts.journalVersion,
      afterStore: xen.step?.bind(xen, 'store to the journal'),
      clock,
      faults,
      onError,
      onRenewed: () => {
        this.release('journal-renewed');
        void this.attachAgain();
      },
    });
  }

  get connection(): Connection | undefined {
    return this.#connection;
  }

  /** Why the guest is not served until it reconnects. */
  get reason(): string | undefined {
    return this.#reason;
  }

  set rate(rate: Rate | undefined) {
    this.#rate = rate;
    if (this.#connection !== undefined) this.#connection.rate = rate;
  }

  /**
   * Serves the connection that the guest's keys name, and applies changes that the guest may make while connected.
   * @throws VifdError for a fault that the guest has not caused: try again later.
   */
  async serve(handshake: Handshake): Promise<void> {
    if (!handshake.ok) {
      if (this.#connection === undefined && handshake.reason !== this.#reason) this.#stop(handshake.reason);
      return;
    }
    const { settings } = handshake;
    const rings = ringsOf(settings);
    const isOther = rings !== this.#rings || (this.#isRecorded && !this.#negotiated(settings));
    this.#isRecorded = false;
    // The guest has made another connection since the last look.
    if (this.#connection !== undefined && isOther) this.end('guest-closed');
    if (this.#connection !== undefined) this.#connection.multicastControl = settings.multicastControl;
    else if (this.#resting && rings === this.#rings) this.#settings = settings;
    else if ((this.#reason === undefined || rings !== this.#rings) && this.#pacing.admit())
      await this.#attach(settings);
  }

  /**
   * Attaches to a connection that another process served. `serve`, with the guest's keys, has to follow.
   * @throws VifdError for a fault that the guest has not caused.
   */
  async serveRecorded(settings: FrontendSettings): Promise<void> {
    // The first look was quicker: a change of the store has caused it.
    if (this.#settings !== undefined || this.#reason !== undefined) return;
    this.#isRecorded = true;
    await this.#attach(settings, () => this.#parts.port.openUnfollowed());
  }

  /** Attaches to the connection that was served until its port was lost. This works without the store. */
  async attachAgain(): Promise<void> {
    const { faults } = this.#parts;
    const settings = this.#settings;
    if (settings === undefined || this.#connection !== undefined || this.#reason !== undefined) return;
    try {
      await this.#attach(settings);
    } catch (error) {
      if (this.#released) return;
      faults.begin('serve', faults.prefixed(vifdErrorOf(error)));
      this.#again.again();
      return;
    }
    // The connection may have failed in its first turn; `#again` then attaches to it.
    if (this.#connection === undefined) return;
    faults.end('serve');
    this.#again.reset();
  }

  /** Ends the guest's connection and removes its journals. */
  end(why: DetachReason): void {
    this.release(why);
    this.#settings = undefined;
    this.#again.cancel();
    this.#resting = false;
    this.#pacing.next();
    this.#rings = undefined;
    this.#begun = undefined;
    this.#served = false;
    this.#reason = undefined;
    this.#parts.port.noGuest();
    this.#journals.remove();
    this.#faults.over();
  }

  /** Detaches from the guest, which stays connected. The journals stay. */
  release(why: DetachReason): void {
    if (OF_VIF.has(why)) {
      this.#released = true;
      this.#again.cancel();
      this.#pacing.end();
    }
    const connection = this.#connection;
    this.#connection = undefined;
    this.#journals.stop();
    connection?.detach();
    this.#faults.detached();
    if (connection !== undefined) this.#parts.onDetached(why);
  }

  #negotiated(settings: FrontendSettings): boolean {
    return this.#settings !== undefined && isSameNegotiated(settings, this.#settings);
  }

  async #attach(settings: FrontendSettings, openPort = () => this.#parts.port.open()): Promise<void> {
    const { faults, xen } = this.#parts;
    const { clock } = xen;
    const began = clock.now();
    this.#settings = settings;
    const port = await openPort();
    // The connection ended, or another attempt began, while the port was opened.
    if (this.#released || this.#settings !== settings) return;
    this.#rings = ringsOf(settings);
    this.#reason = undefined;
    const { length } = settings.queues;
    const { queuesMax = 1 } = port;
    if (length > queuesMax)
      return this.#stop(`its guest has ${length} queues, and port ${port.name} has ${queuesMax}`);
    try {
      this.#connection = this.#connect(settings, port);
    } catch (error) {
      this.#faults.refused();
      if (error instanceof VifdError && isGuestFault(error)) return this.#stop(error.message);
      throw error;
    }
    // Listeners run before the first frame moves, so that a hook that they add sees every frame.
    this.#parts.onAttached({ resumed: this.#connection.resumed, attachMs: clock.now() - began });
    this.#begun = this.#rings;
    this.#connection?.start();
    if (this.#connection === undefined) return;
    faults.end('failed');
    this.#journals.start(this.#connection);
  }

  #connect(settings: FrontendSettings, port: Port): Connection {
    const { vif, xen, openChannels, payload, hooks, sent, budget, counters, onRecovered } = this.#parts;
    return new Connection({
      xen,
      domid: vif.domid,
      settings,
      rate: this.#rate,
      port,
      setLink: (up) => this.#parts.port.setLink(up),
      isKnown: this.#begun === this.#rings,
      foundConnected: this.#served,
      journals: this.#journals.open(settings),
      channels: openChannels?.(vif.id),
      payload,
      hooks,
      sent,
      budget,
      counters: (queue) => counters.of(queue),
      onStop: (reason) => this.#stop(reason),
      hostFaults: {
        onBegin: (fault) => {
          if (this.#connection !== undefined) this.#faults.hostOfAttached(fault);
          else this.#faults.hostOfEnding(fault);
        },
        onEnd: (fault) => this.#faults.hostMended(fault),
      },
      onFailure: (error) => {
        this.release('failed');
        this.#faults.failed(error);
        this.#resting = true;
        this.#again.again(this.#failures.takeMs());
      },
      onStall: (queue, linkDown) => {
        counters.countStall(queue);
        this.#faults.stalled(queue, settings.queues.length, linkDown);
      },
      onRecovery: (queue) => {
        this.#faults.recovered(queue);
        onRecovered(queue);
      },
    });
  }

  /** Stops this vif, and no other, because the guest broke the protocol. Writes nothing to the store, since the guest may be in a kexec. */
  #stop(reason: string): void {
    const { vif, onError } = this.#parts;
    this.#reason = reason;
    this.#pacing.next();
    this.release('protocol-error');
    this.#parts.port.noGuest();
    onError(
      new VifdError('ERR_PROTOCOL', `${vif.id} stopped until its guest connects again: ${reason}`, {
        vif: vif.id,
      }),
    );
  }
}

/** Whether a frontend can cause the error by the keys that it wrote. All other errors are faults of vifd or of the host. */
function isGuestFault(error: VifdError): boolean {
  return error.code === 'ERR_PROTOCOL' || error.code === 'ERR_XEN_GRANT' || error.code === 'ERR_XEN_EVENT';
}
