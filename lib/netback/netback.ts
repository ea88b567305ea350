import { EventEmitter } from 'node:events';
import type { Journals } from '../durable/journal.js';
import { JOURNAL_VERSION, JOURNAL_VERSION_BEFORE, type JournalVersion } from '../durable/layout.js';
import { VifdError, vifdErrorOf } from '../errors.js';
import type { Port } from '../ports/port.js';
import type { Xen } from '../xen/seam.js';
import type { VifHook } from './frames/frame.js';
import type { Vif } from './public-vif.js';
import type { PayloadMode } from './settings.js';
import { QUEUES_MAX } from './settings.js';
import { Discovery } from './vif/discovery.js';
import type { Feature } from './vif/offer.js';
import { ServedVifs } from './vif/served-vifs.js';
import type { AttachedHow, DetachReason } from './vif/vif-parts.js';
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
  /**
   * The version in which journals are written; default: the newest, 8. With 7 an older vifd can resume what this one leaves. Journals of
   * both versions are read.
   */
  readonly journalVersion?: JournalVersion;
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

/**
 * Serves the vifs of this domain: joins a discovery, which finds them, to what serves them. Disposal detaches: guests stay connected, and the next Netback, in this
 * process or another, attaches to them again.
 */
export class Netback implements AsyncDisposable {
  readonly #options: NetbackOptions;
  readonly #emitter = new EventEmitter();
  readonly #served: ServedVifs;
  readonly #discovery: Discovery;
  #closing: Promise<void> | undefined;

  private constructor(options: NetbackOptions) {
    this.#options = options;
    const { xen } = options;
    this.#served = new ServedVifs({
      options,
      onAttached: (vif, how) => this.#emit('attached', vif, how),
      onDetached: (vif, why) => this.#emit('detached', vif, why),
      onRecovered: (vif, queue) => this.#emit('recovered', vif, queue),
      onError: (error, vif) => this.#report(error, vif),
      onMended: (error, vif) => this.#emit('mended', error, vif),
      onGone: (vif) => {
        this.#emit('gone', vif);
        this.#discovery.lookAt(vif);
      },
    });
    this.#discovery = new Discovery({
      xen,
      server: this.#served,
      onError: (error) => this.#report(error, undefined),
      onMended: (error) => this.#emit('mended', error, undefined),
    });
    options.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Resolves when every guest that waits is attached. @throws VifdError ERR_ARGUMENT; ERR_STORE when the store cannot be read. */
  static async open(options: NetbackOptions, listeners: Partial<NetbackListeners> = {}): Promise<Netback> {
    options.signal?.throwIfAborted();
    const { queues = 1 } = options;
    if (!(Number.isInteger(queues) && queues >= 1 && queues <= QUEUES_MAX))
      throw new VifdError('ERR_ARGUMENT', `${queues} is no number of queues: give 1 to ${QUEUES_MAX}.`);
    const { journalVersion = JOURNAL_VERSION } = options;
    if (journalVersion !== JOURNAL_VERSION && journalVersion !== JOURNAL_VERSION_BEFORE)
      throw new VifdError(
        'ERR_ARGUMENT',
        `${journalVersion} is no version of journals that this vifd writes: give ${JOURNAL_VERSION}, or ${JOURNAL_VERSION_BEFORE} before a ` +
          `change to an older vifd, which does not read ${JOURNAL_VERSION}.`,
      );
    const netback = new Netback(options);
    for (const [event, listener] of Object.entries(listeners)) {
      netback.#emitter.on(event, listener as (...args: unknown[]) => void);
    }
    try {
      await netback.#discovery.open();
    } catch (error) {
      await netback[Symbol.asyncDispose]();
      throw error;
    }
    return netback;
  }

  get vifs(): ReadonlyMap<VifId, Vif> {
    return this.#served.vifs;
  }

  /** What is wrong now with no single vif: the store is away, a vif cannot be read. What is wrong with a vif: `Vif.faults`. */
  get faults(): readonly VifdError[] {
    return this.#discovery.faults;
  }

  /**
   * Ends a vif whose node is missing since the store came back, which nothing else ends where it cannot be known whether the
   * domain is gone: detaches, removes the port and the journals.
   * @throws VifdError ERR_NO_VIF; ERR_STATE for a vif whose node is, or may be, there: it would be served again at once.
   */
  async forget(id: VifId): Promise<void> {
    const vif = this.#served.vifs.get(id);
    if (vif === undefined) {
      const message = `${id} is not served by this vifd: \`vifd list\` shows which vifs there are.`;
      throw new VifdError('ERR_NO_VIF', message, { vif: id });
    }
    if (!vif.faults.some(({ code }) => code === 'ERR_NODE_GONE')) {
      const away = this.faults.find(({ code }) => code === 'ERR_STORE_GONE');
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
    // Guests are detached from before anything waits for the store, which may be away.
    const orderly = Promise.all([this.#discovery.close(), this.#served.detach()]);
    let timer: Disposable | undefined;
    const late = new Promise<void>((resolve) => {
      timer = this.#options.xen.clock.after(DETACH_MS, resolve);
    });
    await Promise.race([orderly, late]);
    timer?.[Symbol.dispose]();
  }

  /**
   * Finds vifs that are not served yet. Changes of the store lead to it by themselves; it is for an `accept` that
   * depends on more. Looks that overlap become one more look.
   */
  look(): Promise<void> {
    return this.#discovery.look();
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
