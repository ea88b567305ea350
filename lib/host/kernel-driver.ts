import { existsSync, readdirSync, readFileSync } from 'node:fs';

const BUS = '/sys/bus/xen-backend';

/** A vif on the kernel's bus for backends (xen-backend). */
export interface BusVif {
  readonly domid: number;
  readonly handle: number;
}

/** The state of the kernel's own backend, xen-netback. */
export interface KernelDriver {
  /** Whether the driver serves the vif or has not fully detached from it: no other backend may touch the rings. */
  serves(vif: BusVif): boolean;
  /** Returns the name of the driver's interface for the vif; undefined if it has none. */
  interfaceOf(vif: BusVif): string | undefined;
  readonly loaded: boolean;
  /** Whether the driver is loaded and binds each new vif at once. */
  readonly takesNew: boolean;
}

export class XenNetback implements KernelDriver {
  protected readonly bus: string;

  constructor(bus = BUS) {
    this.bus = bus;
  }

  /**
   * Checks the link `driver` and the interface. During an unbind, the kernel removes `driver` before it stops the driver
   * (drivers/base/dd.c), and the driver removes its interface, which may have any name, after it has unmapped the rings. In one of
   * twenty unbinds on real Xen, vifd found a vif between the two.
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
      // Kernels without drivers_autoprobe always probe.
      return true;
    }
  }
}

/** Returns the name of a vif on the bus. */
export function nameOf({ domid, handle }: BusVif): string {
  return `vif-${domid}-${handle}`;
}
