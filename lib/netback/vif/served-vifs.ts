import { AtMost } from '../../at-most.js';
import type { Journals } from '../../durable/journal.js';
import { JOURNAL_VERSION, type JournalVersion } from '../../durable/layout.js';
import { VifdError, vifdErrorOf } from '../../errors.js';
import type { Port } from '../../ports/port.js';
import { frontendVifPath } from '../../protocol/xenbus.js';
import { waitAtMost } from '../../wait-at-most.js';
import type { Xen } from '../../xen/seam.js';
import type { VifFilter, VifHook } from '../frames/frame.js';
import { GuestBudgets } from '../guest/guest-budget.js';
import type { PayloadMode } from '../settings.js';
import { recordedConnection } from '../state/connection-journals.js';
import type { VifAddress, VifId, VifInfo } from '../vif-info.js';
import type { Admission, Named, VifPlace } from './directory.js';
import type { VifServer } from './discovery.js';
import { type Feature, Offer } from './offer.js';
import { type RecordedConnection, readRecorded } from './recorded-connection.js';
import { Vif } from './vif.js';
import { VifNode } from './vif-node.js';
import type { AttachedHow, DetachReason, OpenChannels } from './vif-parts.js';

/** The options of Netback that concern vifs; see `NetbackOptions`. */
export interface ServeOptions {
  readonly xen: Xen;
  readonly port: (vif: VifInfo) => Port | Promise<Port>;
  readonly removeLeftPort?: (vif: VifId) => void | Promise<void>;
  readonly accept?: (vif: VifAddress, serving: boolean) => boolean | Promise<boolean>;
  readonly filter?: VifFilter;
  readonly hook?: VifHook;
  readonly payload?: PayloadMode;
  readonly queues?: number;
  readonly without?: readonly Feature[];
  readonly journals?: Journals | false;
  readonly journalVersion?: JournalVersion;
  /** Default: all connections use the event channels of `xen`. */
  readonly openChannels?: OpenChannels;
}

export interface ServedVifsParts {
  readonly options: ServeOptions;
  readonly onAttached: (vif: Vif, how: AttachedHow) => void;
  readonly onDetached: (vif: Vif, why: DetachReason) => void;
  readonly onRecovered: (vif: Vif, queue: number) => void;
  readonly onError: (error: VifdError, vif: Vif) => void;
  readonly onMended: (error: VifdError, vif: Vif) => void;
  /** Called when the vif has ended; there may be a new vif at its place. */
  readonly onGone: (vif: Vif) => void;
}

/** After an attach to a recorded connection, frames move for so long before the rest of its keys are read. */
const FRAMES_FIRST_MS = 1;
/** How long the looks at all vifs wait for the slowest attach: its port may open slowly, and guests that close meanwhile wait, too. */
const ATTACHING_MS = 500;
/** A look takes some ms of the processor, and asks the store several times. */
const LOOKS_AT_ONCE = 4;

/** The vifs that this process serves. A discovery passes their places; this class does not search for vifs. */
export class ServedVifs implements VifServer {
  readonly #parts: ServedVifsParts;
  readonly #offer: Offer;
  readonly #budgets: GuestBudgets;
  readonly #vifs = new Map<VifId, Vif>();
  /** Those of `#vifs` that the program has not closed. */
  readonly #listed = new Map<VifId, Vif>();
  /** The attaches to recorded connections that are under way. */
  readonly #attaching = new Set<Promise<unknown>>();
  /** The first looks at their vifs, a few at a time: frames of all of them move meanwhile. */
  readonly #looks = new AtMost(LOOKS_AT_ONCE);
  #detached = false;

  constructor(parts: ServedVifsParts) {
    this.#parts = parts;
    this.#offer = new Offer(parts.options.without);
    this.#budgets = new GuestBudgets(parts.options.xen.clock);
  }

  /** The vifs without those that the program has closed and whose guests have not connected again. */
  get vifs(): ReadonlyMap<VifId, Vif> {
    return this.#listed;
  }

  isServed(id: VifId): boolean {
    return this.#vifs.has(id);
  }

  domids(): ReadonlySet<number> {
    return new Set([...this.#vifs.values()].map(({ domid }) => domid));
  }

  /** @param inherited whether a process that is dead was attached to the vif's guest: then the guest waits. */
  async found(
    place: VifPlace,
    connectedOnly: boolean,
    changed: () => boolean,
    inherited = false,
  ): Promise<Admission> {
    if (this.#vifs.has(place.id)) return 'served';
    const recorded = inherited ? this.#recorded(place) : undefined;
    const found = this.#find(place, connectedOnly, changed, recorded);
    if (recorded !== undefined) await this.#othersToo(found);
    const vif = await found;
    if (!(vif instanceof Vif)) return vif;
    vif.openCounters();
    // If the node changed since it was read, vifd looks again and calls `accept` again.
    const look = () => (changed() ? vif.poke() : vif.begin());
    await (recorded === undefined ? look() : this.#looks.run(look));
    return 'served';
  }

  /** Returns the vif, which is attached already if its connection is the recorded one. */
  async #find(
    place: VifPlace,
    connectedOnly: boolean,
    changed: () => boolean,
    recorded: Promise<RecordedConnection | undefined> | undefined,
  ): Promise<Vif | Exclude<Admission, 'served'>> {
    const { id, domid, handle, path } = place;
    // All requests are sent before the first response.
    const [node, connection, isAccepted] = await Promise.all([
      VifNode.find(this.#parts.options.xen.store, path, place),
      recorded,
      recorded && this.#accepts(place, false),
    ]);
    if (node === undefined) return 'none';
    // A toolstack is still writing the node, and the directory calls this function again.
    if (changed()) return 'waiting';
    if (connectedOnly && !node.wasConnected) return 'waiting';
    if (!(isAccepted ?? (await this.#accepts(node.info, false))) || this.#detached) return 'refused';
    const vif = this.#create(node);
    this.#vifs.set(id, vif);
    this.#listed.set(id, vif);
    const isThere = node.wasConnected && node.frontendPath === frontendVifPath(domid, handle);
    if (connection !== undefined && isThere) await vif.serveRecorded(connection);
    return vif;
  }

  /** @returns undefined if no connection is recorded; else what `readRecorded` has of it. */
  #recorded(place: VifPlace): Promise<RecordedConnection | undefined> | undefined {
    const { xen, journals, journalVersion = JOURNAL_VERSION } = this.#parts.options;
    const settings = journals ? recordedConnection(journals, place, journalVersion) : undefined;
    if (settings === undefined) return undefined;
    const frontend = frontendVifPath(place.domid, place.handle);
    return readRecorded(xen.store, { frontend, backend: place.path }, settings, this.#offer);
  }

  /** Resolves when this and all other recorded connections that are being looked at have been attached to, and frames move. */
  async #othersToo(attached: Promise<unknown>): Promise<void> {
    this.#attaching.add(attached);
    const { clock } = this.#parts.options.xen;
    await waitAtMost(clock, ATTACHING_MS, Promise.allSettled(this.#attaching));
    this.#attaching.delete(attached);
    await new Promise<void>((resolve) => clock.after(FRAMES_FIRST_MS, resolve));
  }

  changed(path: string, named: Named): void {
    if (named !== undefined && 'id' in named) {
      this.#vifs.get(named.id)?.poke(path);
      return;
    }
    for (const vif of this.#vifs.values())
      if (named === undefined || vif.domid === named.domid) vif.poke(path);
  }

  domainGone(domid: number): void {
    for (const vif of this.#vifs.values())
      if (vif.domid === domid) vif.abandon().catch((error) => this.#parts.onError(vifdErrorOf(error), vif));
  }

  storeReturned(): void {
    for (const vif of this.#vifs.values()) vif.storeReturned();
  }

  /**
   * Ends a vif whose node is missing since the store returned; see `Netback.forget`.
   * @param away why the store is away; undefined if it is not. @throws VifdError ERR_NO_VIF or ERR_STATE.
   */
  async forget(id: VifId, away: VifdError | undefined): Promise<void> {
    const vif = this.#vifs.get(id);
    if (vif === undefined) {
      const message = `${id} is not served by this vifd: \`vifd list\` shows which vifs there are.`;
      throw new VifdError('ERR_NO_VIF', message, { vif: id });
    }
    if (!vif.faults.some(({ code }) => code === 'ERR_NODE_GONE')) {
      if (away !== undefined) {
        const message = `vifd cannot determine whether ${id} has a node, and still serves its guest: try again when xenstored is back. ${away.message}`;
        throw new VifdError('ERR_STATE', message, { vif: id });
      }
      const message =
        `${id} has its node in xenstore and would be served again at once: remove the device with ` +
        `\`xl network-detach ${vif.domid} ${vif.handle}\`, or give it to the kernel with \`vifd release ${id}\`.`;
      throw new VifdError('ERR_STATE', message, { vif: id });
    }
    await vif.abandon();
  }

  /** Detaches from every guest at once. Resolves when the ports are closed too, which may take as long as the store is away. */
  async detach(): Promise<void> {
    this.#detached = true;
    const detached = [...this.#vifs.values()].map((vif) => vif.detach());
    this.#vifs.clear();
    this.#listed.clear();
    await Promise.all(detached);
  }

  async #accepts(vif: VifAddress, serving: boolean): Promise<boolean> {
    const { accept } = this.#parts.options;
    return accept === undefined || (await accept(vif, serving));
  }

  #create(node: VifNode): Vif {
    const { options, onAttached, onDetached, onRecovered, onError, onMended } = this.#parts;
    const { xen, payload = 'copy', queues = 1, journals, journalVersion = JOURNAL_VERSION } = options;
    const vif: Vif = new Vif({
      xen,
      openChannels: options.openChannels,
      node,
      payload,
      queues,
      offer: this.#offer,
      budget: this.#budgets.of(node.info.domid),
      journals: journals === false ? undefined : journals,
      journalVersion,
      filter: options.filter,
      hook: options.hook,
      openPort: options.port,
      removeLeftPort: (id) => options.removeLeftPort?.(id),
      accepts: (one) => this.#accepts(one, true),
      onAttached: (how) => onAttached(vif, how),
      onDetached: (why) => onDetached(vif, why),
      onRecovered: (queue) => onRecovered(vif, queue),
      onError: (error) => onError(error, vif),
      onMended: (error) => onMended(error, vif),
      onClosed: () => this.#listed.delete(vif.id),
      onReopened: () => this.#listed.set(vif.id, vif),
      onGone: () => this.#gone(vif),
    });
    return vif;
  }

  /** Forgets a vif that has ended. A new vif of the same name may be there already. */
  #gone(vif: Vif): void {
    for (const vifs of [this.#vifs, this.#listed]) if (vifs.get(vif.id) === vif) vifs.delete(vif.id);
    if (!this.domids().has(vif.domid)) this.#budgets.forget(vif.domid);
    this.#parts.onGone(vif);
  }
}
