import { parseXenbusState, type XenbusState } from '../protocol/xenbus.js';
import { quoted } from '../text.js';
import type { Store, StoreView, StoreWatch } from '../xen/types.js';
import { type Handshake, MULTICAST_KEY } from './handshake.js';
import { type Offer, readServable } from './offer.js';
import type { VifId, VifInfo } from './types.js';

/** What the store says of a vif at one moment. */
export interface VifSight {
  readonly own: XenbusState;
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

/** A vif's nodes in the store: reading them as one picture, and writing our state. */
export class VifNode {
  readonly info: VifInfo;
  readonly path: string;
  readonly frontendPath: string;
  readonly #store: Store;
  #watches: Promise<StoreWatch>[] = [];

  private constructor(store: Store, path: string, frontendPath: string, info: VifInfo) {
    this.#store = store;
    this.path = path;
    this.frontendPath = frontendPath;
    this.info = info;
  }

  /** @returns undefined when the node is not (yet, or any more) a vif. */
  static async find(store: Store, path: string, domid: number, handle: number): Promise<VifNode | undefined> {
    const [frontend, mac, bridge, mtu] = await Promise.all(
      ['frontend', 'mac', 'bridge', 'mtu'].map((key) => store.read(`${path}/${key}`)),
    );
    if (frontend === undefined || frontend === '') return undefined;
    const id: VifId = `vif${domid}.${handle}`;
    return new VifNode(store, path, frontend, { id, domid, handle, mac: mac ?? '', bridge, mtu: mtuOf(mtu) });
  }

  /** @returns undefined when the node is gone. */
  async look(): Promise<VifSight | undefined> {
    const read = (key: string) => this.#store.read(`${this.path}/${key}`);
    const [own, online, script, hotplug, error, rate, frontend] = await Promise.all([
      read('state'),
      read('online'),
      read('script'),
      read('hotplug-status'),
      read('hotplug-error'),
      read('rate'),
      this.#store.read(`${this.frontendPath}/state`),
    ]);
    if (own === undefined) return undefined;
    return {
      own: parseXenbusState(own),
      frontend: parseXenbusState(frontend),
      strange: strangeState(frontend),
      online: online !== '0',
      plugged: script === undefined || script === '' || hotplug === 'connected',
      hotplugError: hotplug === 'error' ? wordsOf(error) : undefined,
      rate,
    };
  }

  /** What the guest wrote. @param offer given, a guest to whom another backend offered more is refused. */
  readGuest(offer: Offer | undefined): Promise<Handshake> {
    return readServable(this.#store, this.frontendPath, this.path, offer);
  }

  /** Follows what a connected guest may change. Resolves when it does. */
  async watch(onChange: () => void): Promise<void> {
    // These keys and not the whole frontend: a guest could write there without end (XSA-349).
    this.#watches = ['state', MULTICAST_KEY].map((key) =>
      this.#store.watch(`${this.frontendPath}/${key}`, onChange),
    );
    try {
      await Promise.all(this.#watches);
    } catch (error) {
      this.#watches = [];
      throw error;
    }
  }

  async unwatch(): Promise<void> {
    await Promise.all(this.#watches.splice(0).map(async (watch) => (await watch).close()));
  }

  setState(state: XenbusState): Promise<void> {
    return this.write('state', `${state}`);
  }

  /** Writes a key of ours, unless the node has gone meanwhile: a write would bring back a part of it. */
  async write(key: string, value: string): Promise<void> {
    await this.#store.transaction(async (view: StoreView) => {
      if ((await view.read(`${this.path}/state`)) !== undefined)
        await view.write(`${this.path}/${key}`, value);
    });
  }
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
