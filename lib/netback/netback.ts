import { EventEmitter } from 'node:events';
import { Backoff } from '../backoff.js';
import type { Journals } from '../durable/journal.js';
import { retried, VifdError, vifdErrorOf } from '../errors.js';
import type { Port } from '../ports/port.js';
import type { StoreWatch, Xen } from '../xen/seam.js';
import { Faults } from './faults/present-faults.js';
import type { VifHook } from './frames/frame.js';
import { GuestBudgets } from './guest/guest-budget.js';
import type { PayloadMode } from './settings.js';
import { QUEUES_MAX } from './settings.js';
import { type Admission, Directory, type DirectoryParts } from './vif/directory.js';
import { type Feature, Offer } from './vif/offer.js';
import { Vif } from './vif/vif.js';
import { VifNode } from './vif/vif-node.js';
import type { AttachedHow, DetachReason } from './vif/vif-parts.js';
import { watchFrom } from './vif/watch-from.js';
import type { VifAddress, VifId, VifInfo } from './vif-info.js';

export interface NetbackOptions {
  readonly xen: Xen;
  /** Where a guest's frames go: `tap()`, one end of `pair()`, or a port of your own. */
  readonly port: (vif: VifInfo) => Port | Promise<Port>;
  /** Removes the port that an earlier process left of a vif that is gone. Give it where ports outlive their process. */
  readonly removeLeftPort?: (vif: VifId) => void | Promise<void>;
  /**
   * Which vifs of this domain to serve; default all. Asked when a vif is found, and again (`serving`) when its node changed
   * otherwise than by vifd: a vif that is no longer accepted is detached, its port is closed and removed, and its guest stays connected.
   */
  readonly accept?: (vif: VifAddress, serving: boolean) => boolean | Promise<boolean>;
  /** Sees every frame of every vif, from the first on. A vif's own hooks run after it. */
  readonly hook?: VifHook;
  /** How frames' bytes cross; default 'copy'. */
  readonly payload?: PayloadMode;
  /** How many queues a guest may have, where its port can have as many; 1 to 16, default 1. */
  readonly queues?: number;
  /** Features of netif.h that are not offered. A guest that was offered one of them before is not served until it reconnects. */
  readonly without?: readonly Feature[];
  /** Makes a kill at any instant harmless: see `journalFiles`. Default: none. */
  readonly journals?: Journals;
  /** Abort detaches, as disposal does. */
  readonly signal?: AbortSignal;
}

export interface NetbackEvents {
  attached: [vif: Vif, how: AttachedHow];
  detached: [vif: Vif, why: DetachReason];
  /** The vif has ended: its node is gone, or another backend serves it. Drop what you keep for it. */
  gone: [vif: Vif];
  /** A guest that was said to be stalled (ERR_STALLED) takes frames again, by this queue. */
  recovered: [vif: Vif, queue: number];
  /** Without a listener errors go to stderr as process warnings; they never end the process. */
  error: [error: VifdError, vif: Vif | undefined];
  /** What this error reported is over: it is no fault of the vif, or of the netback, any more. */
  mended: [error: VifdError, vif: Vif | undefined];
}

/** A detach that waits for an unresponsive store ends after this: SIGTERM takes a second at most. */
const DETACH_MS = 500;
/** How often to ask whether the domains of vifs are there while the store cannot tell. */
const DOMAINS_LOOK_MS = 1000;

/**
 * Serves the vifs of this domain. Disposal detaches: guests stay connected, and the next Netback, in this
 * process or another, attaches to them again.
 */
export class Netback implements AsyncDisposable {
  readonly #options: NetbackOptions;
  readonly #offer: Offer;
  readonly #emitter = new EventEmitter();
  readonly #vifs = new Map<VifId, Vif>();
  readonly #directory: Directory;
  readonly #faults: Faults;
  readonly #budgets: GuestBudgets;
  /** Looks for vifs again after a look, or the start of a vif, failed. */
  readonly #retry: Backoff;
  /** Domains whose vifs were ended because they are gone. Their nodes may still be there. */
  readonly #goneDomains = new Set<number>();
  /** A connection to the store was lost since everything was read last. */
  #missed = false;
  #connection: Disposable | undefined;
  #domains: Disposable | undefined;
  #watch: Promise<StoreWatch> | undefined;
  #scan: Promise<void> | undefined;
  #scanAgain = false;
  #closing: Promise<void> | undefined;

  private constructor(options: NetbackOptions) {
    this.#options = options;
    this.#offer = new Offer(options.without);
    const { store, domid, clock } = options.xen;
    this.#budgets = new GuestBudgets(clock);
    this.#directory = new Directory({ store, domid, clock, admit: (...of) => this.#admit(...of) });
    this.#faults = new Faults({
      onBegin: (error) => this.#report(error, undefined),
      onEnd: (error) => this.#emit('mended', error, undefined),
    });
    this.#retry = new Backoff(clock, () => this.#lookAgain());
    options.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Resolves when every guest that waits is attached. @throws VifdError ERR_ARGUMENT; ERR_STORE when the store cannot be read. */
  static async open(options: NetbackOptions, listeners: Partial<NetbackListeners> = {}): Promise<Netback> {
    options.signal?.throwIfAborted();
    const { queues = 1 } = options;
    if (!(Number.isInteger(queues) && queues >= 1 && queues <= QUEUES_MAX))
      throw new VifdError('ERR_ARGUMENT', `${queues} is no number of queues: give 1 to ${QUEUES_MAX}.`);
    const netback = new Netback(options);
    for (const [event, listener] of Object.entries(listeners)) {
      netback.#emitter.on(event, listener as (...args: unknown[]) => void);
    }
    try {
      await netback.#begin();
    } catch (error) {
      await netback[Symbol.asyncDispose]();
      throw error;
    }
    return netback;
  }

  async #begin(): Promise<void> {
    const { store } = this.#options.xen;
    this.#connection = store.onConnection((lost) => this.#onConnection(lost));
    // Coalesced by the store client: one look serves any number of changes (XSA-349).
    this.#watch = watchFrom(store, this.#directory.root, (path) => this.#changed(path));
    await this.#watch;
    await this.look();
  }

  get vifs(): ReadonlyMap<VifId, Vif> {
    return this.#vifs;
  }

  /** What is wrong now with no single vif: the store is away, a vif cannot be read. What is wrong with a vif: `Vif.faults`. */
  get faults(): readonly VifdError[] {
    return this.#faults.all;
  }

  /**
   * Ends a vif whose node is missing since the store came back, which nothing else ends where it cannot be known whether the
   * domain is gone: detaches, removes the port and the journals.
   * @throws VifdError ERR_NO_VIF; ERR_STATE for a vif whose node is, or may be, there: it would be served again at once.
   */
  async forget(id: VifId): Promise<void> {
    const vif = this.#vifs.get(id);
    if (vif === undefined) {
      const message = `${id} is not served by this vifd: \`vifd list\` shows which vifs there are.`;
      throw new VifdError('ERR_NO_VIF', message, { vif: id });
    }
    if (!vif.faults.some(({ code }) => code === 'ERR_NODE_GONE')) {
      const away = this.#faults.all.find(({ code }) => code === 'ERR_STORE_GONE');
      if (away !== undefined) {
        const message = `Whether ${id} has a node is unknown, and its guest is served: ask again when xenstored is back. ${away.message}`;
        throw new VifdError('ERR_STATE', message, { vif: id });
      }
      const message =
        `${id} has its node in xenstore and would be served again at once: remove the device with ` +
        `\`xl network-detach ${vif.domid} ${vif.handle}\`, or give it to the kernel with \`vifd release ${id}\`.`;
      throw new VifdError('ERR_STATE', message, { vif: id });
    }
    await vif.abandon();
  }

  on<E extends keyof NetbackEvents>(event: E, listener: (...args: NetbackEvents[E]) => void): this {
    this.#emitter.on(event, listener as (...args: unknown[]) => void);
    return this;
  }

  off<E extends keyof NetbackEvents>(event: E, listener: (...args: NetbackEvents[E]) => void): this {
    this.#emitter.off(event, listener as (...args: unknown[]) => void);
    return this;
  }

  /** Detaches from every guest. Idempotent. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#detach();
    return this.#closing;
  }

  readonly #onAbort = (): void => {
    this[Symbol.asyncDispose]().catch((error) => this.#report(vifdErrorOf(error), undefined));
  };

  async #detach(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#connection?.[Symbol.dispose]();
    this.#domains?.[Symbol.dispose]();
    this.#retry.cancel();
    // Guests are detached from before anything waits for the store, which may be away.
    const detached = [...this.#vifs.values()].map((vif) => vif.detach());
    this.#vifs.clear();
    // A look that fails is reported where it was asked for.
    const looked = this.#scan?.catch(() => undefined);
    const orderly = Promise.all([this.#unwatch(), looked, ...detached]);
    let timer: Disposable | undefined;
    const late = new Promise<void>((resolve) => {
      timer = this.#options.xen.clock.after(DETACH_MS, resolve);
    });
    await Promise.race([orderly, late]);
    timer?.[Symbol.dispose]();
  }

  async #unwatch(): Promise<void> {
    const watch = await this.#watch?.catch(() => undefined);
    await watch?.close();
  }

  #changed(path: string): void {
    const named = this.#directory.named(path);
    if (named === 'nothing') return;
    if (named !== undefined && 'id' in named) {
      const vif = this.#vifs.get(named.id);
      if (vif === undefined) void this.#directory.lookAt(named);
      else vif.poke(path);
      return;
    }
    // Of a node that was removed with all below it there is one event.
    for (const vif of this.#vifs.values())
      if (named === undefined || vif.domid === named.domid) vif.poke(path);
    if (named === undefined) this.#lookAgain();
    else this.#directory.lookIn(named).catch((error) => this.#unlisted(error));
  }

  /** The store was lost, or is back: then everything is read anew, since what happened meanwhile is unknown. */
  #onConnection(lost: VifdError | undefined): void {
    if (lost !== undefined) {
      this.#missed ||= lost.errno !== 'ETIMEDOUT';
      this.#faults.begin('store', lost);
      this.#watchDomains();
      return;
    }
    this.#faults.end('store');
    // A xenstored that was silent has kept its watches, and every event comes yet.
    if (!this.#missed) return;
    this.#missed = false;
    for (const vif of this.#vifs.values()) vif.storeReturned();
    this.#lookAgain();
  }

  /** While the store is away no watch tells that a guest has ended. */
  #watchDomains(): void {
    const { xen } = this.#options;
    if (xen.domainExists === undefined || this.#domains !== undefined) return;
    this.#domains = xen.clock.after(DOMAINS_LOOK_MS, () => {
      this.#domains = undefined;
      if (!this.#faults.has('store')) return;
      for (const vif of this.#vifs.values()) {
        if (xen.domainExists?.(vif.domid) !== false) continue;
        this.#goneDomains.add(vif.domid);
        vif.abandon().catch((error) => this.#report(vifdErrorOf(error), vif));
      }
      this.#watchDomains();
    });
  }

  /**
   * Finds vifs that are not served yet. Changes of the store lead to it by themselves; it is for an `accept` that
   * depends on more. Looks that overlap become one more look.
   */
  look(): Promise<void> {
    this.#scanAgain = true;
    this.#scan ??= this.#scanAll().finally(() => {
      this.#scan = undefined;
      // Asked for since the last look.
      return this.#scanAgain && this.#closing === undefined ? this.look() : undefined;
    });
    return this.#scan;
  }

  /** As `look`, without a caller that waits: a failure is a fault, and is tried again. */
  #lookAgain(): void {
    this.look().then(
      () => {
        this.#faults.end('look');
        if (this.#faults.all.length === 0) this.#retry.reset();
      },
      (error) => this.#unlisted(error),
    );
  }

  #unlisted(thrown: unknown): void {
    if (this.#closing !== undefined) return;
    const { code, message, errno } = retried(thrown);
    const details = { cause: thrown, ...(errno === undefined ? {} : { errno }) };
    this.#faults.begin('look', new VifdError(code, `Vifs cannot be listed: ${message}`, details));
    this.#retry.again();
  }

  async #scanAll(): Promise<void> {
    while (this.#scanAgain && this.#closing === undefined) {
      this.#scanAgain = false;
      const there: ReadonlySet<string> = await this.#directory.look();
      this.#faults.forget((kind) => kind.startsWith('vif') && !there.has(kind));
    }
  }

  async #admit(...of: Parameters<DirectoryParts['admit']>): Promise<Admission> {
    const [{ id }] = of;
    try {
      const admission = await this.#serve(...of);
      if (admission === 'none') this.#faults.forget((kind) => kind === id);
      else if (admission !== 'waiting') this.#faults.end(id);
      return admission;
    } catch (error) {
      // A vif that cannot be read or started is no reason not to serve the others.
      if (this.#closing !== undefined) return 'refused';
      const { code, message, errno } = retried(error);
      const details = { vif: id, cause: error, ...(errno === undefined ? {} : { errno }) };
      this.#faults.begin(id, new VifdError(code, `${id} cannot be served yet: ${message}`, details));
      this.#retry.again();
      return 'refused';
    }
  }

  async #serve(...[place, connectedOnly, changed]: Parameters<DirectoryParts['admit']>): Promise<Admission> {
    const { id, domid, path } = place;
    const { xen } = this.#options;
    if (this.#vifs.has(id)) return 'served';
    if (this.#goneDomains.has(domid) && xen.domainExists?.(domid) === false) return 'refused';
    this.#goneDomains.delete(domid);
    const node = await VifNode.find(xen.store, path, place);
    if (node === undefined) return 'none';
    // A toolstack is still writing the node: the directory calls this function again.
    if (changed()) return 'waiting';
    if (connectedOnly && !node.wasConnected) return 'waiting';
    if (!(await this.#accepts(node.info, false)) || this.#closing !== undefined) return 'refused';
    const vif = this.#create(node);
    this.#vifs.set(id, vif);
    // If the node changed since it was read, vifd looks again and calls `accept` again.
    await (changed() ? vif.poke() : vif.begin());
    return 'served';
  }

  async #accepts(vif: VifAddress, serving: boolean): Promise<boolean> {
    const { accept } = this.#options;
    return accept === undefined || (await accept(vif, serving));
  }

  #create(node: VifNode): Vif {
    const vif: Vif = new Vif({
      xen: this.#options.xen,
      node,
      payload: this.#options.payload ?? 'copy',
      queues: this.#options.queues ?? 1,
      offer: this.#offer,
      budget: this.#budgets.of(node.info.domid),
      journals: this.#options.journals,
      hook: this.#options.hook,
      openPort: this.#options.port,
      removeLeftPort: (vif) => this.#options.removeLeftPort?.(vif),
      accepts: (vif) => this.#accepts(vif, true),
      onAttached: (how) => this.#emit('attached', vif, how),
      onDetached: (why) => this.#emit('detached', vif, why),
      onRecovered: (queue) => this.#emit('recovered', vif, queue),
      onError: (error) => this.#report(error, vif),
      onMended: (error) => this.#emit('mended', error, vif),
      onGone: () => this.#gone(vif),
    });
    return vif;
  }

  /** The vif has ended; a new one of the same name may be there already. */
  #gone(vif: Vif): void {
    if (this.#vifs.get(vif.id) === vif) this.#vifs.delete(vif.id);
    if (![...this.#vifs.values()].some(({ domid }) => domid === vif.domid)) this.#budgets.forget(vif.domid);
    this.#emit('gone', vif);
    if (this.#closing === undefined) void this.#directory.lookAt(this.#directory.placeOf(vif));
  }

  #report(error: VifdError, vif: Vif | undefined): void {
    if (this.#emitter.listenerCount('error') > 0) this.#emit('error', error, vif);
    else process.emitWarning(error.message, { code: error.code });
  }

  /** A listener that throws harms no guest: it is reported, and frames move on. */
  #emit<E extends keyof NetbackEvents>(event: E, ...args: NetbackEvents[E]): void {
    try {
      this.#emitter.emit(event, ...args);
    } catch (thrown) {
      const { message } = vifdErrorOf(thrown);
      process.emitWarning(`A listener of '${event}' threw: ${message}`, { code: 'ERR_STATE' });
    }
  }
}

export type NetbackListeners = { [E in keyof NetbackEvents]: (...args: NetbackEvents[E]) => void };
