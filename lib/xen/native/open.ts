import { constants as files, fstatSync } from 'node:fs';
import { constants } from 'node:os';
import { errnoName, type XenLibraries } from '../../addon.js';
import { hostFault, type VifdError } from '../../errors.js';
import { AsyncUndoStack } from '../../undo.js';
import type { LastingEvents, Store, StoredEvents, Xen } from '../seam.js';
import { openStore } from '../store/client.js';
import { ownDomid } from '../store/own-domid.js';
import { requireDomid } from './check.js';
import { systemClock } from './clock.js';
import { XenEvents } from './events.js';
import { XenGrants } from './grants.js';
import { LateEnds } from './late-ends.js';
import {
  librariesFrom,
  loadLibraries,
  openEventDevice,
  openGrantDevice,
  openShareDevice,
} from './libraries.js';
import { storeIo } from './readiness.js';
import { XenShares } from './shares.js';

/** Options of `openXen`. */
export interface OpenXenOptions {
  /**
   * Directory of libxengnttab.so.1 and libxenevtchn.so.1: another build of them, or the simulated Xen. Default: the
   * environment's VIFD_XEN_LIBRARIES, else where the system has them.
   */
  readonly libraries?: string;
  /** The domain that this process runs in. Default: what the store has for it, or 0 if the store has nothing. */
  readonly domid?: number;
  /**
   * A store, which the returned Xen owns and closes; it is closed too if opening fails. Default: a connection to xenstored at `storePath`.
   */
  readonly store?: Store;
  /** xenstored's socket, or the kernel's device for it. Default: the paths that libxenstore tries. */
  readonly storePath?: string;
  /** Called when `openXen` waits for a xenstored that does not respond. */
  readonly onStoreSilent?: (silent: VifdError) => void;
  /** Aborts the wait for xenstored. Once Xen is open it has no effect. */
  readonly signal?: AbortSignal;
}

/**
 * Opens the hypervisor under this process.
 * @throws VifdError ERR_ADDON_MISSING or ERR_XEN_UNAVAILABLE. The message names what is missing and what to do.
 */
export async function openXen(options: OpenXenOptions = {}): Promise<Xen> {
  const undo = new AsyncUndoStack();
  if (options.store !== undefined) undo.use(options.store);
  try {
    options.signal?.throwIfAborted();
    if (options.domid !== undefined) requireDomid(options.domid);
    const libraries = loadLibraries(librariesFrom(options.libraries));
    const devices = openDevices(libraries, undo);
    const store = options.store ?? (await openOwnStore(options, undo));
    const domid = options.domid ?? (await domidIn(libraries, store));
    return new NativeXen({ ...devices, store, domid, libraries });
  } catch (error) {
    throw await undo.after(error);
  }
}

interface Devices {
  readonly late: LateEnds;
  readonly grants: XenGrants;
  readonly events: XenEvents;
  readonly shares: XenShares | undefined;
}

function openDevices(libraries: XenLibraries, undo: AsyncUndoStack): Devices {
  const late = new LateEnds();
  const grants = undo.use(new XenGrants(openGrantDevice(libraries), late));
  const events = undo.use(openEventDevice(libraries, late));
  const device = openShareDevice(libraries);
  const shares = device && undo.use(new XenShares(device));
  return { late, grants, events, shares };
}

async function openOwnStore(options: OpenXenOptions, undo: AsyncUndoStack): Promise<Store> {
  const { storePath, onStoreSilent: onSilent, signal } = options;
  const store = await openStore({
    ...storeIo,
    ...(storePath === undefined ? {} : { path: storePath }),
    ...(onSilent === undefined ? {} : { onSilent }),
    ...(signal === undefined ? {} : { signal }),
  });
  return undo.use(store);
}

/** Returns the domain of this process. In a simulated Xen that is the domain that the environment names. */
function domidIn(libraries: XenLibraries, store: Store): Promise<number> | number {
  return libraries.openShares === undefined ? ownDomid(store) : Number(process.env.XENSIM_DOMID ?? 0);
}

class NativeXen implements Xen {
  readonly domid: number;
  readonly grants: XenGrants;
  readonly events: XenEvents;
  readonly shares: XenShares | undefined;
  readonly openLastingEvents?: (stored?: StoredEvents) => LastingEvents;
  readonly store: Store;
  readonly clock = systemClock;
  readonly #libraries: XenLibraries;
  readonly #late: LateEnds;
  #disposed: Promise<void> | undefined;

  constructor(
    parts: Devices & { readonly store: Store; readonly domid: number; readonly libraries: XenLibraries },
  ) {
    this.#libraries = parts.libraries;
    this.#late = parts.late;
    this.domid = parts.domid;
    this.grants = parts.grants;
    this.events = parts.events;
    this.shares = parts.shares;
    this.store = parts.store;
    if (parts.libraries.canAdoptEvents) this.openLastingEvents = (stored) => this.#openEvents(stored);
  }

  domainExists(domid: number): boolean | undefined {
    requireDomid(domid);
    if (this.#disposed !== undefined) return undefined;
    const exists = this.#libraries.domainExists(domid);
    return exists < 0 ? undefined : exists === 1;
  }

  #openEvents(stored: StoredEvents | undefined): LastingEvents {
    // Another process may pass any descriptor.
    const fits = stored === undefined || isLike(stored.descriptor, this.events.stored.descriptor);
    const opened = fits ? XenEvents.open(this.#libraries, this.#late, stored) : -constants.errno.EINVAL;
    if (typeof opened !== 'number') return opened;
    throw hostFault('Opening event channels', errnoName(opened));
  }

  whenEnded(then: () => void): void {
    this.#late.whenEnded(then);
  }

  /** Closes every channel, unmaps every page, closes the store. Idempotent. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#close();
    return this.#disposed;
  }

  async #close(): Promise<void> {
    // The stack disposes of the last one first: event channels, whose handlers use the others, end before those.
    await using undo = new AsyncUndoStack();
    undo.use(this.store);
    if (this.shares !== undefined) undo.use(this.shares);
    undo.use(this.grants);
    undo.use(this.events);
  }
}

/** Whether two descriptors are of files of one kind: of the same device, if they are of a device. */
function isLike(one: number, other: number): boolean {
  const [first, second] = [fstatSync(one), fstatSync(other)];
  return (first.mode & files.S_IFMT) === (second.mode & files.S_IFMT) && first.rdev === second.rdev;
}
