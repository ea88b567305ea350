import type { NetbackListeners } from '../netback/netback.js';
import type { VifAddress, VifInfo } from '../netback/types.js';
import type { TapOptions } from '../ports/tap.js';
import type { Port } from '../ports/types.js';
import type { Store, Xen } from '../xen/types.js';
import { type KernelDriver, XenNetback } from './kernel-driver.js';
import { type Links, SysfsLinks } from './links.js';
import { type Mark, VifMark } from './mark.js';

/** The address that Linux's netback gives its end: lowest priority for a bridge that picks its own from its ports. */
export const TAP_MAC = 'fe:ff:ff:ff:ff:ff';

/** How often to look again at a vif that is to be ours while the kernel still has it: its leaving is in no store. */
const LOOK_AGAIN_MS = 250;

export interface OwnershipParts {
  readonly store: Store;
  readonly domid: number;
  /** Undefined on a simulated Xen, which has no drivers in this kernel. */
  readonly kernel: KernelDriver | undefined;
  readonly links: Pick<Links, 'exists' | 'hasMaster' | 'finish'>;
  readonly openTap: (options: TapOptions) => Port;
}

/** Which vifs `vifd run` serves: what an operator has said, and where nobody has, what the kernel's driver leaves. */
export class Ownership {
  readonly #parts: OwnershipParts;
  readonly #attached = new Set<string>();
  /** As `accept` has read them: a port is opened after that, and reading again would cost the start a round trip. */
  readonly #marks = new Map<string, Mark>();
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
    const { kernel, links } = this.#parts;
    const mark = this.#markOf(vif);
    const seen = await mark.read();
    const { owner, attached } = seen;
    this.#marks.set(vif.id, seen);
    const bound = kernel?.serves(vif) === true;
    if (owner === 'kernel') return !serving && !bound && links.exists(vif.id);
    if (serving) {
      // An adoption began before we had let go of it for the kernel.
      if (this.#attached.has(vif.id) && attached !== process.pid) await mark.attached(process.pid);
      return true;
    }
    if (bound) {
      if (owner === 'vifd') this.#lookAgain();
      return false;
    }
    if (owner === 'vifd') return true;
    return kernel?.takesNew !== true && mark.claim();
  }

  /** What `vifd adopt` waits for is written down at each attach; the listeners are called as they would be without. */
  listening(listeners: NetbackListeners): NetbackListeners {
    return {
      ...listeners,
      attached: (vif, how) => {
        this.#attached.add(vif.id);
        listeners.attached(vif, how);
        this.#markOf(vif)
          .attached(process.pid)
          .catch((error) => listeners.error(error, vif));
      },
      detached: (vif, why) => {
        this.#attached.delete(vif.id);
        listeners.detached(vif, why);
      },
    };
  }

  /** A vif's tap: an adopted one's is set up as the kernel's interface was; one that is only let go of, not at all. */
  async port(vif: VifInfo, bridge: string | undefined): Promise<Port> {
    const { owner, keep } = this.#marks.get(vif.id) ?? {};
    if (owner === 'kernel') return this.#parts.openTap({ name: vif.id, persist: true });
    const common = { name: vif.id, persist: true, spread: true };
    if (keep === undefined) return this.#parts.openTap({ ...common, ...this.#setUp(vif, bridge) });
    const { mac, mtu } = keep;
    const port = this.#parts.openTap({
      ...common,
      mac,
      mtu,
      ...(keep.bridge === undefined ? {} : { bridge: keep.bridge }),
    });
    try {
      this.#parts.links.finish(vif.id, keep);
      return port;
    } catch (error) {
      await port[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * A tap that is there was set up by an earlier life, since persistence comes last (ports/tap.ts), and has what the hotplug
   * script or an operator has changed since: a restart leaves it alone.
   */
  #setUp(vif: VifInfo, bridge: string | undefined): Partial<TapOptions> {
    const { links } = this.#parts;
    const there = links.exists(vif.id);
    return {
      ...(there ? {} : { up: true, mac: TAP_MAC }),
      ...(there || vif.mtu === undefined ? {} : { mtu: vif.mtu }),
      ...(bridge === undefined || (there && links.hasMaster(vif.id)) ? {} : { bridge }),
    };
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

export function ownershipIn({ store, domid, shares }: Xen, openTap: OwnershipParts['openTap']): Ownership {
  const kernel = shares === undefined ? new XenNetback() : undefined;
  return new Ownership({ store, domid, kernel, links: new SysfsLinks(), openTap });
}
