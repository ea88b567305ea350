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

/** The address that Linux's netback gives its end: lowest priority for a bridge that picks its own from its ports. */
export const TAP_MAC = 'fe:ff:ff:ff:ff:ff';

/** How often to look again at a vif that is to be ours while the kernel still has it: its leaving is in no store. */
const LOOK_AGAIN_MS = 250;

export interface OwnershipParts {
  readonly store: Store;
  readonly domid: number;
  /** Undefined on a simulated Xen, which has no drivers in this kernel. */
  readonly kernel: KernelDriver | undefined;
  /** The tap that an earlier process made for the vif. @param vifname what the toolstack calls it. */
  readonly findTap: (vif: string, vifname?: string) => Pick<Interface, 'name' | 'master'> | undefined;
  readonly openTap: (options: VifTapOptions) => Port;
}

/** What the toolstack writes of a vif's interface. */
interface Plug {
  readonly script: string | undefined;
  /** pending: the hotplug script has not ended, or failed. unknown: the node has no `hotplug-status`. */
  readonly status: 'done' | 'pending' | 'unknown';
  readonly vifname: string | undefined;
}

/** How long the tap of a guest that is cut off waits for the store. */
const STORE_MS = 300;

/** Scripts that put the interface into something; `vif-route` and `vif-nat` do not, and of others it is not known. */
const BRIDGING = /(^|\/)vif-(bridge|openvswitch)$/;
const LINUX_BRIDGING = /(^|\/)vif-bridge$/;

/** Which vifs `vifd run` serves: what an operator has said, and where nobody has, what the kernel's driver leaves. */
export class Ownership {
  readonly #parts: OwnershipParts;
  readonly #attached = new Set<string>();
  /** Writes of `vifd/attached` that are under way. */
  readonly #noting = new Map<string, Promise<boolean>>();
  /** As `accept` has read them: a port is opened after that, and reading again would cost the start a round trip. */
  readonly #marks = new Map<string, Mark>();
  /** What the store said of a vif's interface last, and the vifs whose tap this process has opened. */
  readonly #plugs = new Map<string, Plug>();
  readonly #opened = new Set<string>();
  #again: NodeJS.Timeout | undefined;
  /** Called when vifs that were not accepted are to be looked at again. */
  onChange: (() => void) | undefined;

  constructor(parts: OwnershipParts) {
    this.#parts = parts;
  }

  /**
   * - Released: not ours. Where a life ended before it had let go, it is taken once more, and let go in order.
   * - Bound by the kernel's driver: not ours yet, if it is adopted; else not at all.
   * - Adopted, or ours from its beginning: ours, whatever driver is loaded.
   * - Else it is the kernel's if its driver takes what comes, and ours from now on if not.
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
      // The node was removed and made again between two looks: what was noted there went with it.
      if (owner === undefined) await mark.claim();
      // An adoption began before we had let go of it for the kernel.
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
   * Wraps listeners: writes `vifd/attached`, for which `vifd adopt` waits, at each attach, and forgets a vif that is gone. The
   * listeners are called as before.
   */
  listening(listeners: Omit<NetbackListeners, 'gone'>): NetbackListeners {
    return {
      ...listeners,
      attached: (vif, how) => {
        this.#attached.add(vif.id);
        listeners.attached(vif, how);
        const noting = this.#markOf(vif).attached(process.pid);
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
   * A vif's tap: an adopted one's is set up as the kernel's interface was; one that is only let go of, not at all. Another that
   * is there has been set up by an earlier process, since persistence comes last (ports/tap.ts), and has what the hotplug
   * script or an operator has changed since: a restart leaves it alone, but for the bridge of one that is in none.
   * @param bridge what `vifd run --bridge` says.
   */
  async port(vif: VifInfo, bridge: string | undefined): Promise<Port> {
    const { openTap, findTap: find } = this.#parts;
    const { owner, keep } = this.#marks.get(vif.id) ?? {};
    const marked = find(vif.id);
    // What is in a bridge has been plugged: the store need not be asked before the guest is served.
    const plug = marked === undefined || marked.master === 0 ? await this.#plugSoon(vif) : undefined;
    const found = plug?.vifname === undefined ? marked : find(vif.id, plug.vifname);
    const name = found?.name ?? keep?.name;
    const common = { vif: vif.id, persist: true, ...(name === undefined ? {} : { name }) };
    if (owner === 'kernel') return openTap(common);
    if (keep !== undefined) {
      const { mac, mtu, up, port: portFlags, bridge: kept } = keep;
      const expects = async () => (kept !== undefined ? 'bridged' : up ? 'up' : 'nothing');
      return openTap({
        ...common,
        mac,
        mtu,
        up,
        portFlags,
        expects,
        ...(kept === undefined ? {} : { bridge: kept }),
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

  /** For a tap that is made anew the store may be away: what it said before is as good then, and the guest is cut off. */
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
    // That the store is away is reported by the netback.
    return Promise.race([asked.catch(() => before), late]);
  }

  async #expects(vif: VifAddress, bridge: string | undefined): Promise<TapExpectation> {
    const { script, status } = await this.#plugOf(vif);
    if (bridge !== undefined) return 'bridged';
    if (status === 'pending') return 'script';
    if (script === undefined) return 'bridged';
    // An earlier backend may have deleted the status (Linux 5.13 to 5.16), or the script writes it only at its end.
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

/** The bridge that the toolstack names: where no script puts the tap into it, or where the script has, and the tap is gone. */
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
