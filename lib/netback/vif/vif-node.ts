import { parseXenbusState, XenbusState } from '../../protocol/xenbus.js';
import { quoted } from '../../text.js';
import type { Store, StoreView, StoreWatch } from '../../xen/seam.js';
import type { VifAddress, VifInfo } from '../vif-info.js';
import { FRONTEND_KEYS, type Handshake, MULTICAST_KEY } from './handshake.js';
import { KnownKeys } from './known-keys.js';
import { isOfBackend, OFFER_KEY, type Offer, readServable } from './offer.js';
import { isDenied, isRemoved } from './removed-node.js';
import { watchFrom } from './watch-from.js';

/** A snapshot of a vif's keys in the store at one moment. */
export interface VifSnapshot {
  readonly own: XenbusState;
  readonly frontend: XenbusState;
  /** A sentence about the guest's state if it is no XenbusState. */
  readonly strange: string | undefined;
  /** Whether the toolstack wants the device to stay. */
  readonly online: boolean;
  /** Whether the toolstack names a hotplug script, which sets the interface up. */
  readonly hasScript: boolean;
  /** Whether vifd need not wait for a hotplug script (any more): see `Hotplug`. */
  readonly plugged: boolean;
  readonly hotplugError: string | undefined;
  /** The rate at which the toolstack allows the guest to send; see `parseRate`. */
  readonly rate: string | undefined;
}

/** The range that ports/tap.ts accepts: the smallest MTU of IPv4, and the largest of a tap. */
const MTU_MIN = 68;
const MTU_MAX = 65_521;

/**
 * What a change in the store requires: nothing; a look at the vif; or ('all') also a call of `accept`, which decides whether to serve it
 * still.
 */
export type Concern = 'nothing' | 'look' | 'all';

/** A key that `vifd run` writes when it has attached (daemon/mark.ts). `vifd adopt` and `release` change other keys together with it. */
const ATTACHED_KEY = 'vifd/attached';

/** The keys of a frontend that vifd watches. A watch of the whole frontend would fire for every write of the guest (XSA-349). */
const WATCHED_KEYS = ['state', MULTICAST_KEY];

/** The guest's states in which it waits for Connected. */
const CONNECTING: ReadonlySet<XenbusState> = new Set([XenbusState.Initialised, XenbusState.Connected]);

/** The keys of a node that vifd reads when it finds the node. */
const INFO_KEYS = ['frontend', 'mac', 'bridge', 'mtu', 'state'] as const;

/** A vif's nodes in the store: reads them as one snapshot, reads only changed keys again, and writes the backend's state. */
export class VifNode {
  readonly path: string;
  readonly frontendPath: string;
  /** Whether the backend's state was Connected when the node was found: then an earlier process served the vif, and its guest waits. */
  readonly wasConnected: boolean;
  readonly #store: Store;
  readonly #known: KnownKeys;
  /** Keys that are read together when one of them changed, because a toolstack's transaction changes several. */
  readonly #states: readonly string[];
  readonly #hotplug = new Hotplug();
  #info: VifInfo;
  /** The backend's state, as it was last read or written. */
  #own: string | undefined;
  /** Whether the store was away or the node is missing: then a node that the next look finds is the same vif. */
  #expected = false;
  readonly #watches = new Map<string, StoreWatch>();
  #closed = false;

  private constructor(
    store: Store,
    known: KnownKeys,
    path: string,
    frontendPath: string,
    info: VifInfo,
    wasConnected: boolean,
  ) {
    this.#store = store;
    this.#known = known;
    this.path = path;
    this.frontendPath = frontendPath;
    this.#info = info;
    this.wasConnected = wasConnected;
    this.#states = [`${path}/state`, `${path}/online`, `${frontendPath}/state`];
  }

  /**
   * Reads the node. The first look uses these values, so the caller must call this again if the node changed meanwhile.
   * @returns undefined if the node is not (yet, or no longer) a vif.
   */
  static async find(store: Store, path: string, address: VifAddress): Promise<VifNode | undefined> {
    const known = new KnownKeys(store);
    const keys = await known.readAll(INFO_KEYS.map((key) => `${path}/${key}`)).catch(async (error) => {
      if (await isRemoved(store, path, error)) return [];
      throw error;
    });
    const [frontend, mac, bridge, mtu, state] = keys;
    // A node without a state counts as gone (`look`): a vif there would end as soon as it is served, and would be found again.
    if (frontend === undefined || frontend === '' || state === undefined) return undefined;
    const info = infoOf(address, mac, bridge, mtu);
    return new VifNode(store, known, path, frontend, info, parseXenbusState(state) === XenbusState.Connected);
  }

  /** The keys as the last look read them: a toolstack may write them one by one. */
  get info(): VifInfo {
    return this.#info;
  }

  /** Call it when the store is back: a node that exists then is the same vif, even if it was created anew. */
  storeReturned(): void {
    this.#expected = true;
  }

  /**
   * Forgets the values that a change may have made out of date, so that the next look reads them.
   * @param changed the path that a watch reported; undefined if any key may have changed.
   */
  note(changed: string | undefined): Concern {
    if (changed === undefined || isIn(this.path, changed)) {
      this.#known.forgetAll();
      return 'all';
    }
    if (changed === `${this.path}/state`) {
      this.#known.forget(changed);
      return 'look';
    }
    const frontendChanged = isIn(`${this.frontendPath}/state`, changed);
    // A guest has new rings only after it has changed its state, so its keys are read once for each change of the state.
    if (frontendChanged) this.forgetGuest();
    // Only `vifd show` and hooks use the MAC, so a later change needs no look.
    if (changed === `${this.path}/mac` && this.#info.mac !== '') return 'nothing';
    const known = this.#known.forget(changed) || frontendChanged;
    if (frontendChanged || changed === `${this.path}/online`) this.#forgetStates();
    // The status and the error belong together: an old error with a new status would be wrong.
    if (changed === `${this.path}/hotplug-status`) this.#known.forget(`${this.path}/hotplug-error`);
    if (!isIn(changed, this.path)) return known ? 'look' : 'nothing';
    const key = changed.slice(this.path.length + 1);
    return key === ATTACHED_KEY || isOfBackend(key) ? 'nothing' : 'all';
  }

  #forgetStates(): void {
    for (const path of this.#states) this.#known.forget(path);
  }

  /** Forgets the guest's keys, which are read again when it connects. */
  forgetGuest(): void {
    this.#known.forget(this.frontendPath);
  }

  /** Reads the node. @returns undefined if the node is gone, or belongs to another vif by now. */
  async look(): Promise<VifSnapshot | undefined> {
    try {
      return await this.#look();
    } catch (error) {
      if (!(await isRemoved(this.#store, this.path, error))) throw error;
      this.#expected = true;
      return undefined;
    }
  }

  async #look(): Promise<VifSnapshot | undefined> {
    const read = (key: string) => this.#known.read(`${this.path}/${key}`);
    const readAll = (...keys: string[]) => this.#known.readAll(keys.map((key) => `${this.path}/${key}`));
    const [, ...others] = this.#states;
    // After a write of this process, only the backend's state is read.
    if (this.#known.hasAny(others) && (await read('state')) !== this.#own) this.#forgetStates();
    const states = readAll('state', 'online');
    const guest = this.#readFrontendState();
    const rest = readAll('script', 'hotplug-status', 'rate', 'mac', 'bridge', 'mtu');
    // Requested after the guest's state, so that the keys are no older than it, and before its reply, which saves a round trip at an attach.
    this.#known.expect(this.frontendPath, FRONTEND_KEYS);
    const [[ownText, online], frontendText, [script, hotplug, rate, mac, bridge, mtu]] = await Promise.all([
      states,
      guest,
      rest,
    ]);
    const expected = this.#expected;
    this.#expected = ownText === undefined;
    if (ownText === undefined) return undefined;
    const [own, frontend] = [parseXenbusState(ownText), parseXenbusState(frontendText)];
    if (!expected && (await this.#isAnother(own))) return undefined;
    this.#own = ownText;
    this.#info = infoOf(this.#info, mac, bridge, mtu);
    const connecting = own === XenbusState.InitWait && CONNECTING.has(frontend);
    return {
      own,
      frontend,
      strange: strangeState(frontendText),
      online: online !== '0',
      hasScript: script !== undefined && script !== '',
      plugged: this.#hotplug.isDone(hotplug, connecting),
      hotplugError: hotplug === 'error' ? wordsOf(await read('hotplug-error')) : undefined,
      rate,
    };
  }

  /**
   * Whether another vif took the place of this one between two looks. A toolstack creates each node with Initialising, and without
   * the offer that the old node had. If an administrator writes Initialising, the offer stays.
   */
  async #isAnother(own: XenbusState): Promise<boolean> {
    if (own !== XenbusState.Initialising || this.#own === undefined) return false;
    if (parseXenbusState(this.#own) === XenbusState.Initialising) return false;
    return (await this.#store.read(`${this.path}/${OFFER_KEY}`)) === undefined;
  }

  /**
   * Reads the guest's state. In a driver domain, xenstored responds EACCES for a node that is gone together with all parents that this domain
   * could read, and for a node that its guest has made unreadable. As in Linux (xenbus_read_driver_state), both count as a guest that is gone.
   */
  async #readFrontendState(): Promise<string | undefined> {
    try {
      return await this.#known.read(`${this.frontendPath}/state`);
    } catch (error) {
      if (isDenied(error)) return undefined;
      throw error;
    }
  }

  /** Reads the guest's state again. @returns whether it is still that of a snapshot. */
  async isStill({ frontend }: VifSnapshot): Promise<boolean> {
    this.#known.forget(`${this.frontendPath}/state`);
    return parseXenbusState(await this.#readFrontendState()) === frontend;
  }

  /** Reads the guest's keys. @param offer if given, a guest to which another backend offered more is refused. */
  readGuest(offer: Offer | undefined): Promise<Handshake> {
    return readServable(this.#known, this.frontendPath, this.path, offer);
  }

  /**
   * Watches the keys that a connected guest may change, unless they are watched already. Once it resolves, a read misses no change.
   * @throws VifdError ERR_STORE, with E2BIG if the quota of watches is used up. Watches that exist stay, and the next call adds the others.
   */
  async watch(onChange: (path: string) => void): Promise<void> {
    const missing = WATCHED_KEYS.filter((key) => !this.#watches.has(key));
    const made = await Promise.allSettled(
      missing.map(async (key) => {
        const watch = await watchFrom(this.#store, `${this.frontendPath}/${key}`, onChange);
        this.#watches.set(key, watch);
      }),
    );
    if (this.#closed) await this.unwatch();
    for (const one of made) if (one.status === 'rejected') throw one.reason;
  }

  /** Ends all watches, for good. */
  async unwatch(): Promise<void> {
    this.#closed = true;
    const watches = [...this.#watches.values()];
    this.#watches.clear();
    await Promise.all(watches.map((watch) => watch.close()));
  }

  /**
   * Writes the backend's state. @param seen if given, writes only if the backend's state is still that of this snapshot: a toolstack may have
   * asked for the vif's end meanwhile, or created the node anew; the event of that causes another look.
   */
  async setState(state: XenbusState, seen?: VifSnapshot): Promise<void> {
    if (await this.#change((view) => view.write(`${this.path}/state`, `${state}`), seen))
      this.#onWritten(state);
  }

  /**
   * Writes the offer and InitWait in one transaction. Does not write InitWait if the state is InitWait already, because guests watch it.
   * @returns false if the backend's state is no longer that of this snapshot; then nothing is written.
   */
  async advertise(offer: Offer, queues: number, seen: VifSnapshot): Promise<boolean> {
    const written = await this.#change(async (view) => {
      await offer.advertise(view, this.path, queues);
      if (seen.own !== XenbusState.InitWait)
        await view.write(`${this.path}/state`, `${XenbusState.InitWait}`);
    }, seen);
    if (written) this.#onWritten(XenbusState.InitWait);
    return written;
  }

  #onWritten(state: XenbusState): void {
    this.#own = `${state}`;
    this.#known.forget(`${this.path}/state`);
  }

  /**
   * Writes a key of the backend's node, unless the node is gone: a write would create a part of it again.
   * @returns whether it was written.
   */
  write(key: string, value: string): Promise<boolean> {
    return this.#change((view) => view.write(`${this.path}/${key}`, value));
  }

  #change(body: (view: StoreView) => Promise<void>, seen?: VifSnapshot): Promise<boolean> {
    return this.#store.transaction(async (view) => {
      const own = await view.read(`${this.path}/state`);
      if (own === undefined || (seen !== undefined && parseXenbusState(own) !== seen.own)) return false;
      await body(view);
      return true;
    });
  }
}

/**
 * Decides by `hotplug-status` whether vifd waits for a hotplug script before it writes Connected, as Linux's netback does (connect and
 * hotplug_status_changed in xenbus.c, with commit 2afeec08ab5c of 2021). libxl writes the key empty, and the script writes `connected` or
 * `error`. vifd does not wait for a key that is absent when the guest connects: the netbacks of Linux 5.13 to 5.16 and of XenServer delete
 * it at the first connection. A removal of the key while vifd waits does not end the wait.
 */
class Hotplug {
  #awaited = false;

  /** @param connecting the guest has connected, and our state is not Connected yet. @returns whether vifd need not wait. */
  isDone(status: string | undefined, connecting: boolean): boolean {
    if (!connecting || status === 'connected') this.#awaited = false;
    else if (status !== undefined) this.#awaited = true;
    return status === 'connected' || (status === undefined && !this.#awaited);
  }
}

/** Whether a path is a node or one below it. */
function isIn(path: string, node: string): boolean {
  return path === node || path.startsWith(`${node}/`);
}

function infoOf(
  { id, domid, handle }: VifAddress,
  mac: string | undefined,
  bridge: string | undefined,
  mtu: string | undefined,
): VifInfo {
  return { id, domid, handle, mac: mac ?? '', bridge, mtu: mtuOf(mtu) };
}

function strangeState(text: string | undefined): string | undefined {
  if (text === undefined || /^[0-8]$/.test(text)) return undefined;
  return `its guest's state is ${quoted(text)}, no state of xenbus: it counts as gone until its guest connects again`;
}

/** Returns the error text of a hotplug script, shortened to a sentence or two. */
function wordsOf(error: string | undefined): string {
  return error === undefined ? 'no reason given' : quoted(error, 200);
}

/** @returns undefined for a text that is no valid MTU: the host's side then has its default. */
function mtuOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^[0-9]{2,5}$/.test(text)) return undefined;
  const mtu = Number(text);
  return mtu >= MTU_MIN && mtu <= MTU_MAX ? mtu : undefined;
}
