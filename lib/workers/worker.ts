import { closeSync } from 'node:fs';
import { VifdError, vifdErrorOf } from '../errors.js';
import type { VifLocks } from '../host/vif-locks.js';
import { Faults } from '../netback/faults/present-faults.js';
import type { NetbackListeners } from '../netback/netback.js';
import type { VifDetails } from '../netback/show.js';
import type { Admission, Named, VifPlace } from '../netback/vif/directory.js';
import { ServedVifs, type ServeOptions } from '../netback/vif/served-vifs.js';
import { followStoreConnection } from '../netback/vif/store-connection.js';
import type { Vif } from '../netback/vif/vif.js';
import type { VifId } from '../netback/vif-info.js';
import { backendVifRoot } from '../protocol/xenbus.js';
import { version } from '../version.js';
import { waitAtMost } from '../wait-at-most.js';
import { toWorker } from './checked.js';
import { Link } from './link.js';
import type { LinkKeeper } from './link-keeper.js';
import { LoadMeter } from './load-meter.js';
import {
  LINK_PROTOCOL,
  linkErrorOf,
  REASON_MAX,
  type Report,
  type Request,
  WORKER_VIFS_MAX,
} from './messages.js';
import { VifChannels } from './vif-channels.js';
import { WorkerLocks } from './worker-locks.js';

/** How often to report that the event loop runs (`SILENT_MS` of a running worker). */
const ALIVE_MS = 100;
/** Every how many of these reports to look at locks, vifs and load. */
const BEATS_FOR_LOOK = 3;
/** How long a worker without vifs and without a supervisor waits for the next supervisor before it ends. */
const ORPHANED_MS = 10_000;
/** As of Netback: a stop must not wait for a store that is away. */
const DETACH_MS = 500;

export interface WorkerParts {
  readonly options: ServeOptions;
  /** Hear of each vif, and of faults of no vif (`Ownership.listening`, the log). */
  readonly listeners: NetbackListeners;
  readonly keeper: LinkKeeper;
  /** Undefined without a runtime directory: then nothing prevents that two processes serve a vif. */
  readonly locks: Pick<VifLocks, 'take' | 'holder'> | undefined;
  /** Called when the process should end: a supervisor asked for that, and all guests are detached; or no supervisor needs it. */
  readonly onEnd: () => void;
}

type Found = Extract<Request, { readonly ask: 'found' }>;

interface Finding {
  readonly place: VifPlace;
  changed: boolean;
}

/** The worker's end of a link: serves the vifs that a supervisor gives to it, and continues to serve them without a supervisor. */
export class Worker {
  readonly #parts: WorkerParts;
  readonly #served: ServedVifs;
  readonly #faults: Faults;
  readonly #meter = new LoadMeter();
  #load = 0;
  #beats = 0;
  /** The places that `found` looks at now. */
  readonly #finding = new Map<VifId, Finding>();
  readonly #locks: WorkerLocks;
  readonly #channels: VifChannels;
  /** The vifs whose lock another process has got while this one served them already. */
  readonly #lost = new Set<VifId>();
  /** What the supervisor knows of each vif: its state and reason. */
  readonly #reported = new Map<VifId, string>();
  readonly #connection: Disposable;
  #link: Link | undefined;
  #timer: Disposable | undefined;
  #reporting: Disposable | undefined;
  #orphanedMs = 0;
  #detached: Promise<void> | undefined;

  constructor(parts: WorkerParts) {
    this.#parts = parts;
    const { options, listeners } = parts;
    this.#faults = new Faults({
      onBegin: (error) => listeners.error(error, undefined),
      onEnd: (error) => listeners.mended(error, undefined),
    });
    const { xen, accept } = options;
    this.#locks = new WorkerLocks({
      clock: xen.clock,
      locks: parts.locks,
      onLost: (place, error) => {
        this.#lost.add(place.id);
        listeners.error(error, this.#served.vifs.get(place.id));
        // The vif is not accepted any more, so this detaches from its guest.
        this.#served.changed(place.path, place);
      },
    });
    this.#channels = new VifChannels({
      xen,
      mayBeBound: (vif) => this.#locks.isAwaited(vif),
    });
    this.#served = new ServedVifs({
      options: {
        ...options,
        openChannels: (vif) => this.#channels.open(vif),
        accept: (vif, serving) => !this.#lost.has(vif.id) && (accept?.(vif, serving) ?? true),
      },
      onAttached: (vif, how) => {
        listeners.attached(vif, how);
        const { resumed, attachMs } = how;
        this.#report({ report: 'attached', vif: vif.id, how: { resumed, attachMs } });
        this.#reportSoon();
      },
      onDetached: (vif, why) => {
        listeners.detached(vif, why);
        this.#report({ report: 'detached', vif: vif.id, why });
        this.#reportSoon();
      },
      onRecovered: (vif, queue) => listeners.recovered(vif, queue),
      onError: (error, vif) => {
        listeners.error(error, vif);
        this.#reportSoon();
      },
      onMended: (error, vif) => {
        listeners.mended(error, vif);
        this.#reportSoon();
      },
      onGone: (vif) => this.#gone(vif),
    });
    // Its own connection: the served vifs read the store and watch their frontends by it.
    this.#connection = followStoreConnection(options.xen.store, {
      faults: this.#faults,
      onLost: () => {},
      onReturned: () => this.#served.storeReturned(),
    });
    this.#beatLater();
  }

  get vifs(): ReadonlyMap<VifId, Vif> {
    return this.#served.vifs;
  }

  /**
   * Takes a link to a supervisor, which replaces an earlier one. @param descriptor the worker's end, which is the worker's from then on.
   * @throws VifdError ERR_WORKER, with the errno, if the descriptor is of no use.
   */
  accept(descriptor: number): void {
    const link: Link = new Link(descriptor, {
      onMessage: (message, descriptors) => this.#take(link, message, descriptors),
      onEnd: (error) => {
        if (error !== undefined) this.#parts.listeners.error(error, undefined);
        // Not called for a link that a later one has replaced.
        this.#unlink();
        // The next supervisor could not know that this process serves these vifs, and would have them served twice.
        if (!this.#locks.stand) this.#parts.onEnd();
      },
    });
    this.#link?.[Symbol.dispose]();
    this.#link = link;
    this.#reported.clear();
    const vifs = [...new Set([...this.#served.vifs.keys(), ...this.#finding.keys()])];
    link.send({ report: 'hello', protocol: LINK_PROTOCOL, version: version(), pid: process.pid, vifs });
    // The descriptor may be of no use.
    if (link.ended) return;
    this.#parts.keeper.sendTo(link);
    this.#channels.sendTo(link);
    this.#reportVifs();
    // What has changed while no supervisor watched the backend's nodes is unknown.
    this.#served.changed(backendVifRoot(this.#parts.options.xen.domid), undefined);
  }

  /** Call it when vifs that were not accepted may be accepted now (`Ownership.onChange`). */
  lookAgain(): void {
    this.#report({ report: 'look-again' });
  }

  /** Detaches from every guest, and serves none from then on. Idempotent. */
  detach(): Promise<void> {
    this.#detached ??= this.#detach();
    return this.#detached;
  }

  async #detach(): Promise<void> {
    await waitAtMost(this.#parts.options.xen.clock, DETACH_MS, this.#served.detach());
    this.#reporting?.[Symbol.dispose]();
    this.#locks[Symbol.dispose]();
  }

  /** Ends the link and all timers. The caller detaches first, and ends the process after it. */
  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.#reporting?.[Symbol.dispose]();
    this.#connection[Symbol.dispose]();
    this.#link?.[Symbol.dispose]();
    this.#unlink();
    this.#channels[Symbol.dispose]();
  }

  #unlink(): void {
    this.#link = undefined;
    this.#parts.keeper.sendTo(undefined);
    this.#channels.sendTo(undefined);
  }

  /** @throws VifdError ERR_WORKER for what no supervisor sends. */
  #take(link: Link, value: unknown, descriptors: readonly number[]): void {
    const message = toWorker(value);
    const expected = 'ask' in message && message.ask === 'found' ? descriptorsOf(message) : 0;
    if (expected !== descriptors.length) {
      const what = `${descriptors.length} descriptors came instead of ${expected}`;
      throw new VifdError('ERR_WORKER', `The supervisor sent a message that does not fit: ${what}.`);
    }
    if ('ask' in message) void this.#respond(link, message, descriptors);
    else if (message.tell === 'changed') this.#changed(message.path, message.named);
    else if (message.tell === 'domain-gone') this.#served.domainGone(message.domid);
    else this.#served.storeReturned();
  }

  async #respond(link: Link, request: Request, descriptors: readonly number[]): Promise<void> {
    const { number } = request;
    try {
      const result = await this.#resultOf(link, request, descriptors);
      link.send({ number, result });
    } catch (error) {
      const { message, ...rest } = linkErrorOf(error);
      link.send({ number, error: { ...rest, message: cut(message) } });
    }
    if (request.ask === 'end') this.#parts.onEnd();
  }

  async #resultOf(
    link: Link,
    request: Request,
    descriptors: readonly number[],
  ): Promise<Admission | VifDetails | null> {
    switch (request.ask) {
      case 'found':
        return this.#found(link, request, descriptors);
      case 'show':
        return this.#show(request.vif);
      case 'forget':
        await this.#served.forget(request.vif, this.#faults.all[0]);
        return null;
      case 'end':
        await this.detach();
        return null;
    }
  }

  async #found(
    link: Link,
    { place, connectedOnly, descriptors: names, ports, from }: Found,
    descriptors: readonly number[],
  ): Promise<Admission> {
    const { id } = place;
    const isServed = this.#served.isServed(id);
    if (isServed || this.#finding.has(id)) {
      for (const descriptor of descriptors) closeSync(descriptor);
      if (isServed) return 'served';
      const message = `${id} is being looked at for an earlier supervisor: ask again.`;
      throw new VifdError('ERR_STATE', message, { vif: id });
    }
    this.#parts.keeper.own(names, descriptors.slice(0, names.length));
    if (ports.length > 0) this.#channels.own(id, { descriptor: descriptors[names.length], ports });
    const finding: Finding = { place, changed: false };
    this.#finding.set(id, finding);
    try {
      this.#lock(place, from);
      const inherited = from !== undefined || ports.length > 0;
      const admission = await this.#served.found(place, connectedOnly, () => finding.changed, inherited);
      // Not 'refused': the supervisor would not ask another worker.
      if (this.#detached !== undefined)
        throw new VifdError('ERR_STATE', `The worker that looked at ${id} ends.`, { vif: id });
      return admission;
    } finally {
      this.#finding.delete(id);
      if (this.#served.isServed(id)) this.#reportVif(id);
      else {
        this.#locks.release(id);
        this.#parts.keeper.drop(names);
        this.#channels.drop(id);
        // The present supervisor has not asked for the vif, and knows it from 'hello'.
        if (link !== this.#link) this.#report({ report: 'gone', vif: id });
      }
    }
  }

  #lock(place: VifPlace, from: number | undefined): void {
    if (this.#served.vifs.size + this.#finding.size > WORKER_VIFS_MAX) {
      const message = `${place.id}: this worker has ${WORKER_VIFS_MAX} vifs already, and serves no more.`;
      throw new VifdError('ERR_STATE', message, { vif: place.id });
    }
    this.#lost.delete(place.id);
    this.#locks.take(place, from);
  }

  /** Takes the locks again if their file was deleted or replaced: another process could serve the same vifs since then. */
  #relock(): void {
    if (this.#locks.stand && !this.#faults.has('locks')) return;
    try {
      this.#locks.takeAgain();
      this.#faults.end('locks');
    } catch (error) {
      this.#faults.begin('locks', vifdErrorOf(error));
    }
  }

  #changed(path: string, named: Named): void {
    for (const finding of this.#finding.values()) {
      const { id, domid } = finding.place;
      const concerns = named === undefined || ('id' in named ? named.id === id : named.domid === domid);
      finding.changed ||= concerns;
    }
    this.#served.changed(path, named);
  }

  #show(id: VifId): VifDetails {
    const vif = this.#served.vifs.get(id);
    if (vif !== undefined) return vif.show();
    throw new VifdError('ERR_NO_VIF', `${id} is not served by this worker.`, { vif: id });
  }

  #gone(vif: Vif): void {
    this.#parts.listeners.gone(vif);
    this.#reported.delete(vif.id);
    this.#locks.release(vif.id);
    this.#channels.drop(vif.id);
    this.#report({ report: 'gone', vif: vif.id });
  }

  #report(report: Report): void {
    this.#link?.send(report);
  }

  /** Reports what has changed of the vifs, later: listeners run in the middle of the change that they hear of. */
  #reportSoon(): void {
    this.#reporting ??= this.#parts.options.xen.clock.after(0, () => {
      this.#reporting = undefined;
      this.#reportVifs();
    });
  }

  #reportVifs(): void {
    if (this.#link === undefined) return;
    for (const id of this.#served.vifs.keys()) this.#reportVif(id);
  }

  #reportVif(id: VifId): void {
    const vif = this.#served.vifs.get(id);
    if (vif === undefined) return;
    const { state } = vif;
    const reason = vif.reason === undefined ? undefined : cut(vif.reason);
    const text = `${state} ${reason}`;
    if (this.#reported.get(id) === text) return;
    this.#reported.set(id, text);
    this.#report({ report: 'vif', vif: id, state, reason });
  }

  #beatLater(): void {
    this.#timer = this.#parts.options.xen.clock.after(ALIVE_MS, () => {
      this.#beatLater();
      this.#beat();
    });
  }

  #beat(): void {
    if (++this.#beats % BEATS_FOR_LOOK === 0) {
      this.#relock();
      // Some changes of a state cause no event.
      this.#reportVifs();
      this.#load = this.#meter.take();
    }
    this.#report({ report: 'alive', load: this.#load });
    const isOrphaned = this.#link === undefined && this.#served.vifs.size === 0;
    this.#orphanedMs = isOrphaned ? this.#orphanedMs + ALIVE_MS : 0;
    if (this.#orphanedMs >= ORPHANED_MS) this.#parts.onEnd();
  }
}

/** How many descriptors belong to a message. */
function descriptorsOf({ descriptors, ports }: Found): number {
  return descriptors.length + (ports.length > 0 ? 1 : 0);
}

function cut(text: string): string {
  return text.length <= REASON_MAX ? text : `${text.slice(0, REASON_MAX - 1)}…`;
}
