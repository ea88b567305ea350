import { captureRejectionSymbol, EventEmitter, errorMonitor } from 'node:events';
import type { Journals } from '../durable/journal.js';
import { JOURNAL_VERSION, JOURNAL_VERSION_BEFORE, type JournalVersion } from '../durable/layout.js';
import { VifdError, vifdErrorOf } from '../errors.js';
import type { Port } from '../ports/port.js';
import type { FaultLog } from '../runtime/insist.js';
import type { PatientLock } from '../runtime/patient-lock.js';
import { quoted } from '../text.js';
import { waitAtMost } from '../wait-at-most.js';
import type { Xen } from '../xen/seam.js';
import type { VifFilter, VifHook } from './frames/frame.js';
import type { Vif } from './public-vif.js';
import { safekeepingFor } from './safekeeping.js';
import type { PayloadMode } from './settings.js';
import { QUEUES_MAX } from './settings.js';
import { Discovery } from './vif/discovery.js';
import type { Feature } from './vif/offer.js';
import { ServedVifs } from './vif/served-vifs.js';
import type { AttachedHow, DetachReason } from './vif/vif-parts.js';
import type { VifAddress, VifId, VifInfo } from './vif-info.js';

/** Options of `Netback.open`. */
export interface NetbackOptions {
  /** The hypervisor, from `openXen` or the model. It stays yours: dispose of it after the netback. */
  readonly xen: Xen;
  /**
   * Returns where a guest's frames go: `tap()`, `framePort()`, one end of `pair()`, or a port of your own. If it throws or rejects, vifd reports
   * that once, and calls it again after pauses that double up to seconds; so for `accept`.
   */
  readonly port: (vif: VifInfo) => Port | Promise<Port>;
  /**
   * Removes the port that an earlier process left behind for a vif that is gone. Pass it if ports outlive their process: for a persistent
   * tap named after its vif, `(id) => tap({ name: id }).remove?.()`.
   */
  readonly removeLeftPort?: (vif: VifId) => void | Promise<void>;
  /**
   * Decides which vifs of this domain to serve; default all. vifd calls it when it finds a vif, and again (with `serving`) when something
   * other than vifd changed the node. vifd detaches from a vif that is no longer accepted, and closes and removes its port; the guest stays
   * connected.
   */
  readonly accept?: (vif: VifAddress, serving: boolean) => boolean | Promise<boolean>;
  /** A filter that sees the headers of every frame of every vif, from the first frame on, before the vif's own filters and all hooks. */
  readonly filter?: VifFilter;
  /**
   * A hook that runs for every frame of every vif, from the first frame on, before the vif's own hooks. So it may run before `open` has
   * resolved, when a `const netback` cannot be read yet; `attached` comes before the first frame of its vif.
   */
  readonly hook?: VifHook;
  /** How the bytes of frames move between guest and process; default 'copy'. */
  readonly payload?: PayloadMode;
  /** How many queues a guest may have, if its port can have as many; 1 to 16, default 1. */
  readonly queues?: number;
  /**
   * Features of netif.h that vifd does not offer. A guest to which a previous backend offered one of them is not served until it
   * reconnects.
   */
  readonly without?: readonly Feature[];
  /**
   * Journals, which make a kill at any instant harmless. Default: files in `runtimeDirectory` if that is passed; else those of `xen` if it has
   * some, as the model has; else files in `/run/vifd`. `false`: none, so that a kill may cost a guest frames or its device. See
   * `journalFiles` for files in another folder.
   */
  readonly journals?: Journals | false;
  /**
   * The directory of the journals, and of the lock by which one process at a time serves from it; on a tmpfs. vifd creates it if it is missing.
   * Default: `/run/vifd`, as for `vifd run`; none if `journals` or those of `xen` make it unnecessary. A directory that cannot be used is
   * reported (ERR_JOURNAL), and tried again.
   */
  readonly runtimeDirectory?: string;
  /**
   * The version in which vifd writes journals; default: the newest, 8. After version 7 an older vifd can resume the connections. vifd reads
   * both versions.
   */
  readonly journalVersion?: JournalVersion;
  /** A signal whose abort detaches, as disposal does. */
  readonly signal?: AbortSignal;
}

/** The events of a netback, with the arguments of their listeners. */
export interface NetbackEvents {
  /** vifd serves the guest: frames begin to move. This comes again, with the same vif, when the guest connects again. */
  attached: [vif: Vif, how: AttachedHow];
  /** vifd serves the guest no longer. */
  detached: [vif: Vif, why: DetachReason];
  /**
   * The vif has ended, because its node is gone or another backend serves it. It is no longer in `Netback.vifs`: drop your data about it. This
   * does not come when the guest closes, nor at disposal.
   */
  gone: [vif: Vif];
  /** A guest that was reported as stalled (ERR_STALLED) takes frames again by this queue. */
  recovered: [vif: Vif, queue: number];
  /** An error. Without a listener, errors go to stderr as process warnings. They never end the process. */
  error: [error: VifdError, vif: Vif | undefined];
  /** The fault that this error reported is over. */
  mended: [error: VifdError, vif: Vif | undefined];
}

/** How long a detach waits for an unresponsive store, so that a stop by SIGTERM takes a second at most. */
const DETACH_MS = 500;

/** The names of all events; the compiler refuses a list that lacks one. */
const EVENT_NAMES = Object.keys({
  attached: true,
  detached: true,
  gone: true,
  recovered: true,
  error: true,
  mended: true,
} satisfies Record<keyof NetbackEvents, true>);

/** What vifd's own modules use of a netback, beside what is public. */
export interface NetbackInside {
  /** Of the runtime directory; undefined for a netback without one. */
  readonly lock: PatientLock | undefined;
  /** Reports faults that belong to no vif, as the netback does. */
  readonly log: FaultLog;
}

/** Returns what no program sees of a netback. Assigned within the class. */
export let insideOf: (netback: Netback) => NetbackInside;

/**
 * Serves the vifs of this domain: connects a discovery, which finds the vifs, to a `ServedVifs`, which serves them. Disposal detaches: guests
 * stay connected, and the next Netback, in this process or another, attaches to them again. A process whose netbacks and `xen` are disposed
 * of has nothing of vifd left that keeps it from ending.
 *
 * It is an EventEmitter with the events of `NetbackEvents`. Adding a listener for another event throws VifdError ERR_ARGUMENT. A listener
 * that throws, or rejects, is reported as a process warning, and frames continue to move. `events.errorMonitor` works as for each emitter.
 * `events.once(netback, 'attached')` rejects if `error` comes first, as for each emitter of Node.
 */
export class Netback extends EventEmitter<NetbackEvents> implements AsyncDisposable {
  static {
    insideOf = (netback) => ({ lock: netback.#lock, log: netback.#log });
  }

  readonly #options: NetbackOptions;
  readonly #served: ServedVifs;
  readonly #discovery: Discovery;
  readonly #lock: PatientLock | undefined;
  #closing: Promise<void> | undefined;
  /** While `open` runs: the vifs that attached with no listener for it; `open` reports them when a program can have added one. */
  #unheard: Map<Vif, AttachedHow> | undefined = new Map();

  /** Where faults are reported that belong to no vif. */
  readonly #log = {
    error: (error: VifdError): void => this.#report(error, undefined),
    mended: (error: VifdError): void => void this.#emit('mended', error, undefined),
  } satisfies FaultLog;

  private constructor(options: NetbackOptions, listeners: Partial<NetbackListeners>) {
    super({ captureRejections: true });
    // An emitter calls this before it adds a listener, by whichever method.
    super.on('newListener' as keyof NetbackEvents, requireEvent);
    for (const [event, listener] of Object.entries(listeners))
      if (listener !== undefined) this.on(event as keyof NetbackEvents, listener);
    this.#options = options;
    const { xen } = options;
    const { journals, lock } = safekeepingFor(options, this.#log);
    this.#lock = lock;
    this.#served = new ServedVifs({
      options: { ...options, journals },
      onAttached: (vif, how) => this.#attached(vif, how),
      onDetached: (vif, why) => {
        this.#unheard?.delete(vif);
        this.#emit('detached', vif, why);
      },
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
      onError: this.#log.error,
      onMended: this.#log.mended,
    });
    options.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /**
   * Opens a netback. Resolves when it has attached to every guest that waits.
   * @param listeners of the netback's events, from the first event on. `attached` of a guest that is there already also reaches listeners that
   *   are added as soon as `open` has resolved (before the next turn of the event loop), unless there is one here.
   * @throws VifdError ERR_ARGUMENT for a bad option, for a listener of an event that does not exist, and for a runtime directory that other
   *   users can write; ERR_RUNNING if another process serves from that directory; ERR_STORE if the store cannot be read.
   */
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
    const netback = new Netback(options, listeners);
    try {
      await netback.#discovery.open();
      // Runs after all microtasks, among them what the program does as soon as `open` has resolved.
      process.nextTick(() => netback.#reportUnheard());
    } catch (error) {
      await netback[Symbol.asyncDispose]();
      throw error;
    }
    return netback;
  }

  /** The served vifs by their ids, such as `vif7.0`; it changes as vifs come and go. `Vif.close` removes one until its guest connects again. */
  get vifs(): ReadonlyMap<VifId, Vif> {
    return this.#served.vifs;
  }

  /** The present faults that belong to no served vif: the store is away, or a vif cannot be read. `Vif.faults` has those of a vif. */
  get faults(): readonly VifdError[] {
    return this.#discovery.faults;
  }

  /**
   * Ends a vif whose node is missing since the store returned: detaches, and removes the port and the journals. vifd cannot do so by itself
   * if it cannot tell whether the domain is gone.
   * @throws VifdError ERR_NO_VIF; ERR_STATE for a vif whose node exists or may exist, because vifd would serve it again at once.
   */
  async forget(id: VifId): Promise<void> {
    const away = this.faults.find(({ code }) => code === 'ERR_STORE_GONE');
    await this.#served.forget(id, away);
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
    // vifd detaches from all guests before it waits for the store, which may be away.
    const orderly = Promise.all([this.#discovery.close(), this.#served.detach()]);
    try {
      await waitAtMost(this.#options.xen.clock, DETACH_MS, orderly);
    } finally {
      // Only now may another process serve these guests.
      this.#lock?.[Symbol.dispose]();
    }
  }

  /**
   * Looks for vifs that are not served yet. Changes of the store cause such a look anyway; call this if `accept`
   * depends on something else. Calls during a look lead to one more look.
   */
  look(): Promise<void> {
    return this.#discovery.look();
  }

  #attached(vif: Vif, how: AttachedHow): void {
    if (this.#unheard !== undefined && this.listenerCount('attached') === 0) this.#unheard.set(vif, how);
    else this.#emit('attached', vif, how);
  }

  #reportUnheard(): void {
    const unheard = this.#unheard;
    this.#unheard = undefined;
    if (this.#closing !== undefined) return;
    for (const [vif, how] of unheard ?? []) this.#emit('attached', vif, how);
  }

  #report(error: VifdError, vif: Vif | undefined): void {
    if (this.listenerCount('error') > 0) {
      this.#emit('error', error, vif);
      return;
    }
    process.emitWarning(error.message, { code: error.code });
    // An emitter calls these by itself where there is another listener.
    this.#call(errorMonitor, error, vif);
  }

  #emit<E extends keyof NetbackEvents>(event: E, ...args: NetbackEvents[E]): void {
    this.#call(event, ...args);
  }

  /** Calls the listeners of an event. If one throws, this reports the error, and frames continue to move. */
  #call(event: string | symbol, ...args: unknown[]): void {
    try {
      (this as EventEmitter).emit(event, ...args);
    } catch (thrown) {
      warnOfListener(event, thrown);
    }
  }

  /** @internal An emitter calls it for a listener that returns a promise, if that rejects: it would end the process. */
  override [captureRejectionSymbol](error: Error, event: unknown, ..._args: unknown[]): void {
    warnOfListener(event, error);
  }
}

function warnOfListener(event: unknown, thrown: unknown): void {
  const name = event === errorMonitor ? 'error' : String(event);
  process.emitWarning(`A listener of '${name}' threw: ${vifdErrorOf(thrown).message}`, { code: 'ERR_STATE' });
}

/** @throws VifdError ERR_ARGUMENT unless a netback has this event. */
function requireEvent(event: unknown): void {
  if (event === errorMonitor || EVENT_NAMES.includes(event as string)) return;
  const message = `A netback has no event ${quoted(String(event), 32)}: its events are ${EVENT_NAMES.join(', ')}.`;
  throw new VifdError('ERR_ARGUMENT', message);
}

/** A listener for each event of a netback; see `NetbackEvents`. */
export type NetbackListeners = { [E in keyof NetbackEvents]: (...args: NetbackEvents[E]) => void };
