import { Backoff } from '../../backoff.js';
import type { Journals } from '../../durable/journal.js';
import { VifdError, type VifdErrorCode, vifdErrorOf } from '../../errors.js';
import type { Port } from '../../ports/port.js';
import type { Xen } from '../../xen/seam.js';
import type { Faults } from '../faults/present-faults.js';
import type { VifCounters } from '../frames/counters.js';
import type { Hooks } from '../frames/hooks.js';
import { Allowance } from '../guest/allowance.js';
import type { Rate } from '../guest/credit.js';
import { CONNECTION_EVERY_MS, type GuestBudget } from '../guest/guest-budget.js';
import type { PayloadMode } from '../settings.js';
import { type FrontendSettings, ringsOf } from '../settings.js';
import { type ConnectionJournals, VifJournals } from '../state/connection-journals.js';
import type { VifAddress } from '../vif-info.js';
import { Connection } from './connection.js';
import type { Handshake } from './handshake.js';
import type { AttachedHow, DetachReason } from './vif-parts.js';
import type { VifPort } from './vif-port.js';

export interface AttachmentParts {
  readonly vif: VifAddress;
  readonly xen: Xen;
  readonly journals: Journals | undefined;
  readonly payload: PayloadMode;
  readonly port: VifPort;
  readonly faults: Faults;
  readonly hooks: Hooks;
  readonly budget: GuestBudget;
  /** An earlier process served the guest: attaching again costs none of its budget, or a guest with many vifs would wait for the last. */
  readonly wasConnected: boolean;
  readonly counters: VifCounters;
  readonly onAttached: (how: AttachedHow) => void;
  readonly onDetached: (why: DetachReason) => void;
  /** A guest that was stalled takes frames again, by this queue. */
  readonly onRecovered: (queue: number) => void;
  readonly onError: (error: VifdError) => void;
  /** A connection that came too soon may be served now. */
  readonly onAdmission: () => void;
}

/** So often: what goes wrong with a journal is reported within a second. */
const JOURNALS_LOOK_MS = 500;

/** A hook that takes a connection's memory away with each batch would have it attached without end. */
const FAILURES_AT_ONCE = 5;
const FAILURE_EVERY_MS = 1000;

/** Reasons with which the vif itself ends in this process. */
const OF_VIF: ReadonlySet<DetachReason> = new Set(['shutdown', 'guest-gone', 'released']);

/** Faults that end with the connection that has them. */
const OF_CONNECTION = ['host', 'stall'];

/** A vif's connection to its guest: attached when the guest's keys name one, and stopped, released or ended. */
export class Attachment {
  readonly #parts: AttachmentParts;
  readonly #journals: VifJournals;
  #connection: Connection | undefined;
  /** Of the connection that is served, or was until it was stopped. */
  #rings: string | undefined;
  #reason: string | undefined;
  #rate: Rate | undefined;
  /** The guest's connection is one of those that it may have. */
  #admitted: boolean;
  readonly #failures: Allowance;
  /** The connection failed. `#again` attaches to it when its pause ends; no look at the store does so sooner. */
  #resting = false;
  /** Set while the guest waits for a connection. */
  #admission: Disposable | undefined;
  #released = false;
  /** The rings of the connection that this process has begun. */
  #begun: string | undefined;
  /** The vif was Connected when vifd found it, and the guest has not closed since. */
  #served: boolean;
  #journal: ConnectionJournals | undefined;
  /** Of the connection that is served, or was until its port was lost; no other attempt to attach goes on. */
  #settings: FrontendSettings | undefined;
  /** Attaches again without the store, which may be away. */
  readonly #again: Backoff;
  /** Looks after the journals while a guest is connected. */
  readonly #look: Backoff;

  constructor(parts: AttachmentParts) {
    this.#parts = parts;
    this.#admitted = parts.wasConnected;
    this.#served = parts.wasConnected;
    this.#failures = new Allowance(parts.xen.clock, FAILURES_AT_ONCE, FAILURE_EVERY_MS);
    this.#again = new Backoff(parts.xen.clock, () => {
      this.#resting = false;
      void this.attachAgain();
    });
    this.#look = new Backoff(
      parts.xen.clock,
      () => this.#lookAtJournals(),
      JOURNALS_LOOK_MS,
      JOURNALS_LOOK_MS,
    );
    this.#journals = new VifJournals({
      journals: parts.journals,
      vif: parts.vif,
      onError: (error) => parts.faults.begin('journal', this.#named(vifdErrorOf(error))),
      onIgnored: (message) => parts.onError(this.#error('ERR_JOURNAL', message)),
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
   * Serves the connection that the guest's keys name, and heeds what it may change while connected.
   * @throws VifdError for what is not the guest's fault: to be tried again.
   */
  async serve(handshake: Handshake): Promise<void> {
    if (!handshake.ok) {
      if (this.#connection === undefined && handshake.reason !== this.#reason) this.#stop(handshake.reason);
      return;
    }
    const { settings } = handshake;
    const rings = ringsOf(settings);
    // Another connection, of which we have not seen the beginning: it came faster than we looked.
    if (this.#connection !== undefined && rings !== this.#rings) this.end('guest-closed');
    if (this.#connection !== undefined) this.#connection.multicast.requested = settings.multicastControl;
    else if (this.#resting && rings === this.#rings) this.#settings = settings;
    else if ((this.#reason === undefined || rings !== this.#rings) && this.#admit())
      await this.#attach(settings);
  }

  /** Attaches to the connection that was served until its port was lost. Frames need no store. */
  async attachAgain(): Promise<void> {
    const { faults } = this.#parts;
    const settings = this.#settings;
    if (settings === undefined || this.#connection !== undefined || this.#reason !== undefined) return;
    try {
      await this.#attach(settings);
    } catch (error) {
      if (this.#released) return;
      faults.begin('serve', this.#named(vifdErrorOf(error)));
      this.#again.again();
      return;
    }
    // It may have failed in its first turn, and is attached again then.
    if (this.#connection === undefined) return;
    faults.end('serve');
    this.#again.reset();
  }

  /** @returns whether the guest may connect now; otherwise it waits, which is reported, until `onAdmission`. */
  #admit(): boolean {
    if (this.#admitted) return true;
    if (this.#admission !== undefined) return false;
    const { faults, budget } = this.#parts;
    const waitMs = budget.connections.takeMs();
    this.#admitted = waitMs === 0;
    if (this.#admitted) return true;
    const message =
      `its guest connects more often than every ${CONNECTION_EVERY_MS / 1000} s, so this connection waits for ${Math.ceil(waitMs)} ms: ` +
      'look into the guest, whose driver is reloaded or which starts again and again';
    faults.begin('admission', this.#error('ERR_PACED', message));
    this.#awaitAdmission(waitMs);
    return false;
  }

  /** libuv's timers may fire up to a turn early: then it waits on, without another report. */
  #awaitAdmission(waitMs: number): void {
    const { faults, xen, budget, onAdmission } = this.#parts;
    this.#admission = xen.clock.after(Math.ceil(waitMs), () => {
      const leftMs = budget.connections.waitMs();
      if (leftMs > 0) return this.#awaitAdmission(leftMs);
      this.#admission = undefined;
      faults.end('admission');
      onAdmission();
    });
  }

  /** The guest's connection is over: so are its journals. */
  end(why: DetachReason): void {
    this.release(why);
    this.#settings = undefined;
    this.#again.cancel();
    this.#resting = false;
    this.#admitted = false;
    this.#rings = undefined;
    this.#begun = undefined;
    this.#served = false;
    this.#reason = undefined;
    this.#parts.port.noGuest();
    this.#journals.remove();
    this.#parts.faults.forget((kind) => kind === 'journal' || kind === 'failed');
  }

  /** Lets go of the guest, which stays connected: its journals stay. */
  release(why: DetachReason): void {
    const { faults, onDetached } = this.#parts;
    if (OF_VIF.has(why)) {
      this.#released = true;
      this.#again.cancel();
      this.#admission?.[Symbol.dispose]();
      faults.forget((kind) => kind === 'admission');
    }
    const connection = this.#connection;
    this.#connection = undefined;
    this.#look.cancel();
    this.#journal = undefined;
    connection?.detach();
    faults.forget((kind) => OF_CONNECTION.some((what) => kind.startsWith(what)));
    if (connection !== undefined) onDetached(why);
  }

  async #attach(settings: FrontendSettings): Promise<void> {
    const { faults, xen } = this.#parts;
    const { clock } = xen;
    const began = clock.now();
    this.#settings = settings;
    const port = await this.#parts.port.open();
    // It ended, or another attempt began, while the port was opened.
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
      faults.forget((kind) => kind === 'host');
      if (error instanceof VifdError && isGuestFault(error)) return this.#stop(error.message);
      throw error;
    }
    // Listeners come first: what they hook in shall see every frame.
    this.#parts.onAttached({ resumed: this.#connection.resumed, attachMs: clock.now() - began });
    this.#begun = this.#rings;
    this.#connection?.start();
    if (this.#connection === undefined) return;
    faults.end('failed');
    if (this.#parts.journals !== undefined) this.#look.again();
  }

  /**
   * Journals may be lost while they are in use (deleted, truncated), or could not be had, for want of room: they are made again, and
   * the guest is attached anew with them, as the next process would.
   */
  #lookAtJournals(): void {
    const { faults } = this.#parts;
    const [connection, journal] = [this.#connection, this.#journal];
    if (connection === undefined || journal === undefined) return;
    this.#look.again();
    const why = journal.lost();
    // Reported once: from then on the fault is what hinders it.
    if (why !== undefined && !faults.has('journal'))
      faults.begin('journal', this.#error('ERR_JOURNAL', `${why}: it is made anew`));
    if (!faults.has('journal') || (why === undefined && !connection.quiet)) return;
    try {
      journal.renew();
    } catch (error) {
      faults.begin('journal', this.#named(vifdErrorOf(error)));
      return;
    }
    this.release('journal-renewed');
    void this.attachAgain();
  }

  #connect(settings: FrontendSettings, port: Port): Connection {
    const { vif, xen, payload, hooks, budget, counters, faults, onRecovered } = this.#parts;
    return new Connection({
      xen,
      domid: vif.domid,
      settings,
      rate: this.#rate,
      port,
      setLink: (up) => this.#parts.port.setLink(up),
      isKnown: this.#begun === this.#rings,
      foundConnected: this.#served,
      journals: this.#openJournals(settings),
      payload,
      hooks,
      budget,
      counters: (queue) => counters.of(queue),
      onStop: (reason) => this.#stop(reason),
      onHostFault: (fault) => this.#onHostFault(fault),
      onFailure: (error) => {
        this.release('failed');
        const message = `the connection cannot go on (${error.message}): vifd attaches to the guest again`;
        faults.begin('failed', this.#named(new VifdError(error.code, message)));
        this.#resting = true;
        this.#again.again(this.#failures.takeMs());
      },
      onStall: (queue, linkDown) => {
        const where = settings.queues.length > 1 ? ` by queue ${queue}` : '';
        const then = linkDown ? 'its link is down' : 'they are dropped';
        const message = `its guest takes no frames${where} for 60 s: ${then} until it does`;
        faults.begin(`stall ${queue}`, this.#error('ERR_STALLED', message));
      },
      onRecovery: (queue) => {
        faults.forget((kind) => kind === `stall ${queue}`);
        onRecovered(queue);
      },
    });
  }

  #onHostFault(fault: VifdError | undefined): void {
    const { faults, xen } = this.#parts;
    if (this.#connection !== undefined) {
      if (fault === undefined) faults.end('host');
      else faults.begin('host', this.#named(fault));
      return;
    }
    // Of what a connection has held, when that is let go of: it outlives the connection, and perhaps the vif.
    if (fault === undefined) return;
    faults.begin('ending', this.#named(fault));
    if (xen.whenEnded === undefined) faults.forget((kind) => kind === 'ending');
    else xen.whenEnded(() => faults.end('ending'));
  }

  #openJournals(settings: FrontendSettings): ConnectionJournals {
    const { faults } = this.#parts;
    const journals = this.#journals.open(settings);
    if (journals.whole) faults.end('journal');
    this.#journal = journals;
    return journals;
  }

  /** The guest broke the protocol: this vif alone stops. The store is not touched; the guest may kexec. */
  #stop(reason: string): void {
    const { vif, onError } = this.#parts;
    this.#reason = reason;
    this.#admitted = false;
    this.release('protocol-error');
    this.#parts.port.noGuest();
    onError(
      new VifdError('ERR_PROTOCOL', `${vif.id} stopped until its guest connects again: ${reason}`, {
        vif: vif.id,
      }),
    );
  }

  #named({ code, message, errno }: VifdError): VifdError {
    const { id } = this.#parts.vif;
    return new VifdError(code, `${id}: ${message}`, { vif: id, ...(errno === undefined ? {} : { errno }) });
  }

  #error(code: VifdErrorCode, message: string): VifdError {
    const { vif } = this.#parts;
    return new VifdError(code, `${vif.id}: ${message}`, { vif: vif.id });
  }
}

/** What a frontend can cause by what it wrote; anything else is ours or the machine's to mend. */
function isGuestFault(error: VifdError): boolean {
  return error.code === 'ERR_PROTOCOL' || error.code === 'ERR_XEN_GRANT' || error.code === 'ERR_XEN_EVENT';
}
