import { VifdError } from '../errors.js';
import { parseXenbusState, XenbusState } from '../protocol/xenbus.js';
import { quoted } from '../text.js';
import type { Store, StoreView, StoreWatch } from '../xen/types.js';
import { FRONTEND_KEYS, type Handshake, MULTICAST_KEY } from './handshake.js';
import { KnownKeys } from './known-keys.js';
import { isOfBackend, type Offer, readServable } from './offer.js';
import type { VifAddress, VifInfo } from './types.js';
import { watchFrom } from './watch-from.js';

/** Our states in which a guest that is connected is served. */
const CONNECTABLE: ReadonlySet<XenbusState> = new Set([
  XenbusState.InitWait,
  XenbusState.Connected,
  XenbusState.Reconfigured,
]);

/** What the store says of a vif at one moment. */
export interface VifSight {
  readonly own: XenbusState;
  /** Our state is one in which a guest that is connected is served. */
  readonly connectable: boolean;
  readonly frontend: XenbusState;
  /** A sentence about the guest's state, where it is none of XenbusState. */
  readonly strange: string | undefined;
  /** The toolstack wants the device to stay. */
  readonly online: boolean;
  /** The hotplug script is done, or there is none to wait for. */
  readonly plugged: boolean;
  readonly hotplugError: string | undefined;
  /** What the toolstack allows the guest to send; see `parseRate`. */
  readonly rate: string | undefined;
}

/** As ports/tap.ts takes them: IPv4's least, and a tap's most. */
const MTU_MIN = 68;
const MTU_MAX = 65_521;

/** What a change in the store calls for: nothing; a look at the vif; or, 'all', also a call of `accept`, whether to serve it still. */
export type Concern = 'nothing' | 'look' | 'all';

/** `vifd run` writes it when it has attached (cli/mark.ts). `vifd adopt` and `release` change other keys along with it. */
const ATTACHED_KEY = 'vifd/attached';

/** These keys and not the whole frontend: a guest could write there without end (XSA-349). */
const WATCHED_KEYS = ['state', MULTICAST_KEY];

/** A vif's nodes in the store: reading them as one picture, again only where they changed, and writing our state. */
export class VifNode {
  readonly info: VifInfo;
  readonly path: string;
  readonly frontendPath: string;
  /** Our state was Connected when the node was found: an earlier process served the vif, and its guest waits. */
  readonly wasConnected: boolean;
  readonly #store: Store;
  readonly #known: KnownKeys;
  /** Keys that are read together when one of them changed: a toolstack's transaction changes several. */
  readonly #states: readonly string[];
  /** Our state, as it was read or written last. */
  #own: string | undefined;
  readonly #watches = new Map<string, StoreWatch>();
  #closed = false;

  private constructor(
    store: Store,
    path: string,
    frontendPath: string,
    info: VifInfo,
    wasConnected: boolean,
  ) {
    this.#store = store;
    this.#known = new KnownKeys(store);
    this.path = path;
    this.frontendPath = frontendPath;
    this.info = info;
    this.wasConnected = wasConnected;
    this.#states = [`${path}/state`, `${path}/online`, `${frontendPath}/state`];
  }

  /** @returns undefined when the node is not (yet, or any more) a vif. */
  static async find(
    store: Store,
    path: string,
    { id, domid, handle }: VifAddress,
  ): Promise<VifNode | undefined> {
    const [frontend, mac, bridge, mtu, state] = await Promise.all(
      ['frontend', 'mac', 'bridge', 'mtu', 'state'].map((key) => store.read(`${path}/${key}`)),
    );
    // A node without a state counts as gone (`look`): the vif would end as soon as it is served, and be found again.
    if (frontend === undefined || frontend === '' || state === undefined) return undefined;
    const info = { id, domid, handle, mac: mac ?? '', bridge, mtu: mtuOf(mtu) };
    return new VifNode(store, path, frontend, info, parseXenbusState(state) === XenbusState.Connected);
  }

  /**
   * Forgets what a change may have made wrong, so that the next look reads it.
   * @param changed the path that a watch reported; undefined: anything may have changed.
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
    // A guest has other rings only after it has changed its state: its keys are read once for each change of that.
    if (frontendChanged) this.forgetGuest();
    const known = this.#known.forget(changed) || frontendChanged;
    if (frontendChanged || changed === `${this.path}/online`) this.#forgetStates();
    // The two are one report: an old reason with a new status would be wrong.
    if (changed === `${this.path}/hotplug-status`) this.#known.forget(`${this.path}/hotplug-error`);
    if (!isIn(changed, this.path)) return known ? 'look' : 'nothing';
    const key = changed.slice(this.path.length + 1);
    return key === ATTACHED_KEY || isOfBackend(key) ? 'nothing' : 'all';
  }

  #forgetStates(): void {
    for (const path of this.#states) this.#known.forget(path);
  }

  /** Forgets what the guest wrote: its keys are read again when it connects. */
  forgetGuest(): void {
    this.#known.forget(this.frontendPath);
  }

  /** @returns undefined when the node is gone. */
  async look(): Promise<VifSight | undefined> {
    const read = (key: string) => this.#known.read(`${this.path}/${key}`);
    const [, ...others] = this.#states;
    // After a write of our own, nothing but our state is read.
    if (this.#known.hasAny(others) && (await read('state')) !== this.#own) this.#forgetStates();
    const states = Promise.all([read('state'), read('online'), this.#readFrontendState()]);
    const rest = Promise.all([read('script'), read('hotplug-status'), read('rate')]);
    // Asked for after the guest's state, so that they are no older than it, and before its reply: a round trip less when we attach.
    this.#known.expect(this.frontendPath, FRONTEND_KEYS);
    const [[own, online, frontend], [script, hotplug, rate]] = await Promise.all([states, rest]);
    this.#own = own;
    if (own === undefined) return undefined;
    return {
      own: parseXenbusState(own),
      connectable: CONNECTABLE.has(parseXenbusState(own)),
      frontend: parseXenbusState(frontend),
      strange: strangeState(frontend),
      online: online !== '0',
      plugged: script === undefined || script === '' || hotplug === 'connected',
      hotplugError: hotplug === 'error' ? wordsOf(await read('hotplug-error')) : undefined,
      rate,
    };
  }

  /**
   * In a driver domain xenstored responds EACCES for a node that is gone, where all its parents that this domain could read are gone too,
   * and for a node that its guest has made unreadable. Linux too takes both for a guest that is gone (xenbus_read_driver_state).
   */
  async #readFrontendState(): Promise<string | undefined> {
    try {
      return await this.#known.read(`${this.frontendPath}/state`);
    } catch (error) {
      if (error instanceof VifdError && (error.errno === 'EACCES' || error.errno === 'EPERM'))
        return undefined;
      throw error;
    }
  }

  /** Reads the guest's state again. @returns whether it is still the one of a look. */
  async isStill({ frontend }: VifSight): Promise<boolean> {
    this.#known.forget(`${this.frontendPath}/state`);
    return parseXenbusState(await this.#readFrontendState()) === frontend;
  }

  /** What the guest wrote. @param offer given, a guest to whom another backend offered more is refused. */
  readGuest(offer: Offer | undefined): Promise<Handshake> {
    return readServable(this.#known, this.frontendPath, this.path, offer);
  }

  /**
   * Watches what a connected guest may change. Resolves when it does: a read from then on misses nothing.
   * @throws VifdError ERR_STORE, with E2BIG for the quota of watches; watches that were made stay, and the next call makes the others.
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

  async setState(state: XenbusState): Promise<void> {
    if (await this.write('state', `${state}`)) this.#onWritten(state);
  }

  /** Writes the offer and InitWait in one transaction. Does not write InitWait again where it is: guests watch our state. */
  async advertise(offer: Offer, queues: number, { own }: VifSight): Promise<void> {
    const written = await this.#change(async (view) => {
      await offer.advertise(view, this.path, queues);
      if (own !== XenbusState.InitWait) await view.write(`${this.path}/state`, `${XenbusState.InitWait}`);
    });
    if (written) this.#onWritten(XenbusState.InitWait);
  }

  #onWritten(state: XenbusState): void {
    this.#own = `${state}`;
    this.#known.forget(`${this.path}/state`);
  }

  /** Writes a key of ours, unless the node has gone meanwhile: a write would bring back a part of it. @returns whether it did. */
  write(key: string, value: string): Promise<boolean> {
    return this.#change((view) => view.write(`${this.path}/${key}`, value));
  }

  #change(body: (view: StoreView) => Promise<void>): Promise<boolean> {
    return this.#store.transaction(async (view) => {
      if ((await view.read(`${this.path}/state`)) === undefined) return false;
      await body(view);
      return true;
    });
  }
}

/** Whether a path is a node or one below it. */
function isIn(path: string, node: string): boolean {
  return path === node || path.startsWith(`${node}/`);
}

function strangeState(text: string | undefined): string | undefined {
  if (text === undefined || /^[0-8]$/.test(text)) return undefined;
  return `its guest's state is ${quoted(text)}, no state of xenbus: it counts as gone until its guest connects again`;
}

/** A script's last words may be a sentence or two. */
function wordsOf(error: string | undefined): string {
  return error === undefined ? 'no reason given' : quoted(error, 200);
}

/** @returns undefined for what can be no MTU: the host's side then has its default. */
function mtuOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^[0-9]{2,5}$/.test(text)) return undefined;
  const mtu = Number(text);
  return mtu >= MTU_MIN && mtu <= MTU_MAX ? mtu : undefined;
}
