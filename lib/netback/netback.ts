import { EventEmitter } from 'node:events';
import { VifdError } from '../errors.js';
import type { Port } from '../ports/types.js';
import { backendVifRoot } from '../protocol/xenbus.js';
import type { StoreWatch, Xen } from '../xen/types.js';
import { QUEUES_MAX } from './handshake.js';
import type { Journals } from './journal.js';
import { type Feature, Offer } from './offer.js';
import type { PayloadMode, VifAddress, VifHook, VifId, VifInfo } from './types.js';
import { Vif } from './vif.js';
import { VifNode } from './vif-node.js';
import type { AttachedHow, DetachReason } from './vif-parts.js';

export interface NetbackOptions {
  readonly xen: Xen;
  /** Where a guest's frames go: `tap()`, one end of `pair()`, or a port of your own. */
  readonly port: (vif: VifInfo) => Port | Promise<Port>;
  /**
   * Which vifs of this domain to serve; default all. Asked when a vif is found, and again (`serving`) whenever its node
   * changed: one that is not accepted any more is let go of, its port is taken away, and its guest stays connected.
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
  /** A guest that was said to be stalled (ERR_STALLED) takes frames again, by this queue. */
  recovered: [vif: Vif, queue: number];
  /** Without a listener errors go to stderr as process warnings; they never end the process. */
  error: [error: VifdError, vif: Vif | undefined];
}

/**
 * Serves the vifs of this domain. Disposal detaches: guests stay connected, and the next Netback, in this
 * process or another, attaches to them again.
 */
export class Netback implements AsyncDisposable {
  readonly #options: NetbackOptions;
  readonly #offer: Offer;
  readonly #emitter = new EventEmitter();
  readonly #vifs = new Map<VifId, Vif>();
  readonly #adding = new Set<VifId>();
  #watch: Promise<StoreWatch> | undefined;
  #scan: Promise<void> | undefined;
  #scanAgain = false;
  #closing: Promise<void> | undefined;

  private constructor(options: NetbackOptions) {
    this.#options = options;
    this.#offer = new Offer(options.without);
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
    const root = backendVifRoot(options.xen.domid);
    // Coalesced by the store client: one look serves any number of changes (XSA-349).
    // Asked for together: the store answers in order, so what comes after the listing is watched.
    netback.#watch = options.xen.store.watch(root, (path) => netback.#changed(path));
    await Promise.all([netback.#watch, netback.look()]);
    return netback;
  }

  get vifs(): ReadonlyMap<VifId, Vif> {
    return this.#vifs;
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
    this[Symbol.asyncDispose]().catch((error) => this.#report(error, undefined));
  };

  async #detach(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    await (await this.#watch)?.close();
    await this.#scan;
    await Promise.all([...this.#vifs.values()].map((vif) => vif.detach()));
    this.#vifs.clear();
  }

  #changed(path: string): void {
    const [domid, handle] = path.slice(backendVifRoot(this.#options.xen.domid).length + 1).split('/');
    const vif = this.#vifs.get(`vif${Number(domid)}.${Number(handle)}`);
    if (vif !== undefined) vif.poke();
    else this.look().catch((error) => this.#report(error, undefined));
  }

  /**
   * Finds vifs that are not served yet. Changes of the store lead to it by themselves; it is for an `accept` that
   * depends on more. Looks that overlap become one more look.
   */
  look(): Promise<void> {
    this.#scanAgain = true;
    this.#scan ??= this.#scanAll().finally(() => {
      this.#scan = undefined;
    });
    return this.#scan;
  }

  async #scanAll(): Promise<void> {
    const { store, domid } = this.#options.xen;
    const root = backendVifRoot(domid);
    while (this.#scanAgain && this.#closing === undefined) {
      this.#scanAgain = false;
      const guests = await store.list(root);
      await Promise.all(guests.map((guest) => this.#addAll(`${root}/${guest}`, guest)));
    }
  }

  async #addAll(path: string, guest: string): Promise<void> {
    const handles = await this.#options.xen.store.list(path);
    await Promise.all(handles.map((handle) => this.#add(`${path}/${handle}`, guest, handle)));
  }

  async #add(path: string, guest: string, device: string): Promise<void> {
    const [domid, handle] = [Number(guest), Number(device)];
    if (!Number.isInteger(domid) || !Number.isInteger(handle)) return;
    const id: VifId = `vif${domid}.${handle}`;
    if (this.#vifs.has(id) || this.#adding.has(id)) return;
    this.#adding.add(id);
    try {
      const node = await VifNode.find(this.#options.xen.store, path, domid, handle);
      if (node === undefined || !(await this.#accepts(node.info, false)) || this.#closing !== undefined)
        return;
      const vif = this.#create(node);
      this.#vifs.set(id, vif);
      await vif.start();
    } finally {
      this.#adding.delete(id);
    }
  }

  async #accepts(vif: VifAddress, serving: boolean): Promise<boolean> {
    const { accept } = this.#options;
    return accept === undefined || (await accept(vif, serving));
  }

  #create(node: VifNode): Vif {
    return new Vif({
      xen: this.#options.xen,
      node,
      payload: this.#options.payload ?? 'copy',
      queues: this.#options.queues ?? 1,
      offer: this.#offer,
      journals: this.#options.journals,
      hook: this.#options.hook,
      openPort: this.#options.port,
      accepts: (vif) => this.#accepts(vif, true),
      onAttached: (vif, how) => this.#emitter.emit('attached', vif, how),
      onDetached: (vif, why) => this.#emitter.emit('detached', vif, why),
      onRecovered: (vif, queue) => this.#emitter.emit('recovered', vif, queue),
      onError: (error, vif) => this.#report(error, vif),
      onGone: (vif) => this.#gone(vif),
    });
  }

  /** The vif has ended; a new one of the same name may be there already. */
  #gone(vif: Vif): void {
    this.#vifs.delete(vif.id);
    this.look().catch((error) => this.#report(error, undefined));
  }

  #report(error: unknown, vif: Vif | undefined): void {
    const known =
      error instanceof VifdError
        ? error
        : new VifdError('ERR_STATE', error instanceof Error ? error.message : String(error), {
            cause: error,
          });
    if (this.#emitter.listenerCount('error') > 0) this.#emitter.emit('error', known, vif);
    else process.emitWarning(known.message, { code: known.code });
  }
}

export type NetbackListeners = { [E in keyof NetbackEvents]: (...args: NetbackEvents[E]) => void };
