import { AtMost } from '../at-most.js';
import type { Interface, Interfaces } from '../host/interfaces.js';
import { type KernelDriver, XenNetback } from '../host/kernel-driver.js';
import { findTap } from '../host/vif-taps.js';
import type { NetbackListeners } from '../netback/netback.js';
import type { VifAddress, VifInfo } from '../netback/vif-info.js';
import type { Port } from '../ports/port.js';
import type { TapExpectation } from '../ports/tap-link.js';
import { backendVifPath } from '../protocol/xenbus.js';
import type { Store, Xen } from '../xen/seam.js';
import { type Mark, VifMark } from './mark.js';
import type { VifTapOptions } from './taps.js';

/** The address that Linux's netback gives its interface: a bridge that chooses its address from its ports chooses this one last. */
export const TAP_MAC = 'fe:ff:ff:ff:ff:ff';

/** How often to check whether the kernel's driver has detached from an adopted vif, which no key in the store reports. */
const LOOK_AGAIN_MS = 250;

export interface OwnershipParts {
  readonly store: Store;
  readonly domid: number;
  /** Undefined on a simulated Xen, which has no drivers in this kernel. */
  readonly kernel: KernelDriver | undefined;
  /** Returns the tap that an earlier process made for the vif. @param vifname its name from the toolstack. */
  readonly findTap: (vif: string, vifname?: string) => Pick<Interface, 'name' | 'master'> | undefined;
  readonly openTap: (options: VifTapOptions) => Port;
}

/** The toolstack's keys about a vif's interface. */
interface Plug {
  readonly script: string | undefined;
  /** pending: the hotplug script has not ended, or failed. unknown: the node has no `hotplug-status`. */
  readonly status: 'done' | 'pending' | 'unknown';
  readonly vifname: string | undefined;
}

/** How long the opening of a guest's tap waits for the store, while the guest has no network. */
const STORE_MS = 300;

/** Scripts that put the interface into a bridge. `vif-route` and `vif-nat` do not; about others vifd knows nothing. */
const BRIDGING = /(^|\/)vif-(bridge|openvswitch)$/;
const LINUX_BRIDGING = /(^|\/)vif-bridge$/;

/**
 * Decides which vifs `vifd run` serves: those that an operator gave to vifd, and those without an owner that the kernel's driver does not
 * take.
 */
export class Ownership {
  readonly #parts: OwnershipParts;
  readonly #attached = new Set<string>();
  /** The writes of `vifd/attached` that are under way. */
  readonly #noting = new Map<string, Promise<boolean>>();
  /** One at a time: a process that takes over many vifs has to move their frames meanwhile. */
  readonly #notes = new AtMost(1);
  /** The owners' records as `accept` read them. A port is opened after that, and another read would cost the start a round trip. */
  readonly #marks = new Map<string, Mark>();
  /** The keys about each vif's interface as last read; only for vifs whose tap this process has opened. */
  readonly #plugs = new Map<string, Plug>();
  readonly #opened = new Set<string>();
  #again: NodeJS.Timeout | undefined;
  /** Called when vifd should look again at vifs that were not accepted. */
  onChange: (() => void) | undefined;

  constructor(parts: OwnershipParts) {
    this.#parts = parts;
  }

  /**
   * Decides whether vifd serves a vif.
   * - Released (the owner is the kernel): no. But if a process ended before it had detached, vifd attaches once more and detaches in order.
   * - Bound by the kernel's driver: not now. If the vif is adopted, vifd serves it later.
   * - Adopted, or vifd's from its beginning (the owner is vifd): yes, whatever driver is loaded.
   * - Without an owner: no if the kernel's driver binds new vifs; else yes, and vifd becomes the owner.
   */
  async accept(vif: VifAddress, serving: boolean): Promise<boolean> {
    const { kernel } = this.#parts;
    const mark = this.#markOf(vif);
    const seen = await mark.read();
    const { owner, attached } = seen;
    this.#marks.set(vif.id, seen);
    const bound = kernel?.serves(vif) === true;
    if (owner === 'kernel') return !serving && !bound && this.#parts.findTap(vif.id) !== undefined;
    if (serving) {
      // The node was removed and created again between two looks, and the record was removed with it.
      if (owner === undefined) await mark.claim();
      // An adoption began before vifd had detached for the kernel.
      if (this.#attached.has(vif.id) && attached !== process.pid)
        await (this.#noting.get(vif.id) ?? mark.attached(process.pid));
      return true;
    }
    if (bound) {
      if (owner === 'vifd') this.#lookAgain();
      return false;
    }
    if (owner === 'vifd') return true;
    return kernel?.takesNew !== true && mark.claim();
  }

  /**
   * Wraps listeners: at each attach it writes `vifd/attached`, for which `vifd adopt` waits, and it forgets vifs that are gone. The
   * given listeners are called as well.
   */
  listening(listeners: Omit<NetbackListeners, 'gone'>): NetbackListeners {
    return {
      ...listeners,
      attached: (vif, how) => {
        this.#attached.add(vif.id);
        listeners.attached(vif, how);
        const noting = this.#notes.run(async () => {
          await new Promise(setImmediate);
          return this.#markOf(vif).attached(process.pid);
        });
        this.#noting.set(vif.id, noting);
        noting.catch((error) => listeners.error(error, vif)).finally(() => this.#noting.delete(vif.id));
      },
      detached: (vif, why) => {
        this.#attached.delete(vif.id);
        listeners.detached(vif, why);
      },
      gone: ({ id }) => {
        this.#marks.delete(id);
        this.#plugs.delete(id);
        this.#opened.delete(id);
      },
    };
  }

  /**
   * Opens a vif's tap. The tap of an adopted vif gets the settings of the kernel's interface; the tap of a vif from which vifd only detaches
   * gets none. An earlier process has set up any other existing tap completely, since persistence comes last (ports/tap.ts). The hotplug
   * script or an operator may have changed it since, so a restart does not change it, except that it puts it into a bridge if it is in none.
   * @param bridge the value of `vifd run --bridge`.
   */
  async port(vif: VifInfo, bridge: string | undefined): Promise<Port> {
    const { openTap, findTap: find } = this.#parts;
    const { owner, keep } = this.#marks.get(vif.id) ?? {};
    const marked = find(vif.id);
    // The script has run for a tap that is in a bridge, so vifd need not read the store before it serves the guest.
    const plug = marked === undefined || marked.master === 0 ? await this.#plugSoon(vif) : undefined;
    const found = plug?.vifname === undefined ? marked : find(vif.id, plug.vifname);
    const name = found?.name ?? keep?.name;
    const common = { vif: vif.id, persist: true, ...(name === undefined ? {} : { name }) };
    if (owner === 'kernel') return openTap(common);
    if (keep !== undefined) {
      const { mac, mtu, up, port: portFlags, bridge: before } = keep;
      const expects = async () => (before !== undefined ? 'bridged' : up ? 'up' : 'nothing');
      return openTap({
        ...common,
        mac,
        mtu,
        up,
        portFlags,
        expects,
        ...(before === undefined ? {} : { bridge: before }),
      });
    }
    const bridgeIfNone = bridge ?? bridgeOf(vif, plug, found !== undefined);
    return openTap({
      ...common,
      ifMade: { up: true, mac: TAP_MAC, ...(vif.mtu === undefined ? {} : { mtu: vif.mtu }) },
      ...(bridgeIfNone === undefined ? {} : { bridgeIfNone }),
      expects: () => this.#expects(vif, bridge),
    });
  }

  /**
   * Reads the keys about the interface. While the store is away it returns the last known ones, because the guest of a lost tap has no
   * network.
   */
  async #plugSoon(vif: VifAddress): Promise<Plug | undefined> {
    const asked = this.#plugOf(vif);
    if (!this.#opened.has(vif.id)) {
      this.#opened.add(vif.id);
      return asked;
    }
    const before = this.#plugs.get(vif.id);
    const late = new Promise<Plug | undefined>((resolve) => {
      setTimeout(resolve, STORE_MS, before).unref();
    });
    // The netback reports that the store is away.
    return Promise.race([asked.catch(() => before), late]);
  }

  async #expects(vif: VifAddress, bridge: string | undefined): Promise<TapExpectation> {
    const { script, status } = await this.#plugOf(vif);
    if (bridge !== undefined) return 'bridged';
    if (status === 'pending') return 'script';
    if (script === undefined) return 'bridged';
    // An earlier backend may have deleted the status (Linux 5.13 to 5.16), or the script has not written it yet.
    if (status === 'unknown') return 'nothing';
    return BRIDGING.test(script) ? 'bridged' : 'up';
  }

  async #plugOf({ id, domid, handle }: VifAddress): Promise<Plug> {
    const node = backendVifPath(this.#parts.domid, domid, handle);
    const [script, status, vifname] = await Promise.all(
      ['script', 'hotplug-status', 'vifname'].map((key) => this.#parts.store.read(`${node}/${key}`)),
    );
    const plug: Plug = {
      script: script || undefined,
      status: status === undefined ? 'unknown' : status === 'connected' ? 'done' : 'pending',
      vifname: vifname || undefined,
    };
    this.#plugs.set(id, plug);
    return plug;
  }

  #markOf(vif: VifAddress): VifMark {
    return new VifMark(this.#parts.store, this.#parts.domid, vif);
  }

  #lookAgain(): void {
    this.#again ??= setTimeout(() => {
      this.#again = undefined;
      if (this.onChange === undefined) this.#lookAgain();
      else this.onChange();
    }, LOOK_AGAIN_MS).unref();
  }
}

/**
 * Returns the bridge that the toolstack names, if vifd must put the tap into it: no script does, or the script has and the tap is gone
 * since.
 */
function bridgeOf({ bridge }: VifInfo, plug: Plug | undefined, isThere: boolean): string | undefined {
  if (plug === undefined) return undefined;
  const { script, status } = plug;
  return script === undefined || (!isThere && status === 'done' && LINUX_BRIDGING.test(script))
    ? bridge
    : undefined;
}

export function ownershipIn(
  { store, domid, shares }: Xen,
  network: Interfaces,
  openTap: OwnershipParts['openTap'],
): Ownership {
  const kernel = shares === undefined ? new XenNetback() : undefined;
  const find = (vif: string, vifname?: string) => findTap(network, vif, vifname);
  return new Ownership({ store, domid, kernel, findTap: find, openTap });
}
