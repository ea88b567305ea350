import { existsSync, readdirSync, readFileSync } from 'node:fs';

const BUS = '/sys/bus/xen-backend';

/** A vif as the kernel's bus knows it. */
export interface BusVif {
  readonly domid: number;
  readonly handle: number;
}

/** The kernel's own backend, xen-netback, as it is seen. */
export interface KernelDriver {
  /** It has the vif, or has not let go of it wholly: nobody else may touch the rings. */
  serves(vif: BusVif): boolean;
  /** What its interface of the vif is called; undefined when it has none. */
  interfaceOf(vif: BusVif): string | undefined;
  readonly loaded: boolean;
  /** Loaded, it binds each new vif at once. */
  readonly takesNew: boolean;
}

export class XenNetback implements KernelDriver {
  protected readonly bus: string;

  constructor(bus = BUS) {
    this.bus = bus;
  }

  /**
   * As it is unbound, `driver` goes before the driver is told to stop (drivers/base/dd.c), and its interface, of whatever
   * name, after it has let go of the rings. Once in twenty changes on real Xen a vif was found in between.
   */
  serves(vif: BusVif): boolean {
    return this.isBound(vif) || existsSync(`${this.bus}/devices/${nameOf(vif)}/net`);
  }

  interfaceOf(vif: BusVif): string | undefined {
    const folder = `${this.bus}/devices/${nameOf(vif)}/net`;
    return existsSync(folder) ? readdirSync(folder)[0] : undefined;
  }

  protected isBound(vif: BusVif): boolean {
    return existsSync(`${this.bus}/devices/${nameOf(vif)}/driver`);
  }

  get loaded(): boolean {
    return existsSync(`${this.bus}/drivers/vif`);
  }

  get takesNew(): boolean {
    if (!this.loaded) return false;
    try {
      return readFileSync(`${this.bus}/drivers_autoprobe`, 'utf8').trim() !== '0';
    } catch {
      // Kernels before drivers_autoprobe always probe.
      return true;
    }
  }
}

/** As the bus names it. */
export function nameOf({ domid, handle }: BusVif): string {
  return `vif-${domid}-${handle}`;
}
