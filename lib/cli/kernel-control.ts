import { closeSync, constants, existsSync, openSync, readdirSync, writeSync } from 'node:fs';
import { VifdError } from '../errors.js';
import { type BusVif, type KernelDriver, nameOf, XenNetback } from '../host/kernel-driver.js';
import { runProgram } from './program.js';

/** Controls the kernel's driver. It is separate from `XenNetback`, because `vifd run` does not need it, nor the programs that it runs. */
export interface KernelControl extends KernelDriver {
  /** Loads the driver without letting it bind unbound vifs, which vifd may serve. @throws VifdError ERR_KERNEL_DRIVER. */
  load(): Promise<void>;
  /** Binds a vif to the driver. Returns when it is bound; the driver connects later. @throws VifdError ERR_KERNEL_DRIVER. */
  bind(vif: BusVif): void;
  /**
   * Unbinds a vif. Returns when the driver has detached, with responses to all requests that it took.
   * @throws VifdError ERR_KERNEL_DRIVER.
   */
  unbind(vif: BusVif): void;
}

/**
 * Autoprobing belongs to the whole bus, so it is off only while the driver is loaded. A separate program does this, which
 * continues if this process is killed. Afterwards it offers devices of other kinds that came meanwhile to their drivers.
 */
const LOAD = `was=$(cat "$1/drivers_autoprobe") && echo 0 >"$1/drivers_autoprobe" && modprobe xen-netback
status=$?; echo "$was" >"$1/drivers_autoprobe"; exit $status`;

export class XenNetbackControl extends XenNetback implements KernelControl {
  async load(): Promise<void> {
    const before = this.#devices();
    try {
      await runProgram('sh', '-c', LOAD, 'sh', this.bus);
    } catch (cause) {
      const message = `xen-netback cannot be loaded: ${(cause as Error).message}. Install a kernel that has it.`;
      throw new VifdError('ERR_KERNEL_DRIVER', message, { cause });
    }
    for (const device of this.#devices()) {
      const free = !before.includes(device) && !existsSync(`${this.bus}/devices/${device}/driver`);
      if (free && !device.startsWith('vif-')) this.#write('drivers_probe', device);
    }
  }

  bind(vif: BusVif): void {
    this.#write('drivers/vif/bind', nameOf(vif));
  }

  unbind(vif: BusVif): void {
    // An `adopt` that was killed has unbound the driver, which is still detaching.
    if (!this.isBound(vif) && this.serves(vif)) return;
    this.#write('drivers/vif/unbind', nameOf(vif));
  }

  #devices(): string[] {
    return existsSync(`${this.bus}/devices`) ? readdirSync(`${this.bus}/devices`) : [];
  }

  #write(file: string, device: string): void {
    try {
      writeOnly(`${this.bus}/${file}`, device);
    } catch (cause) {
      const errno = (cause as NodeJS.ErrnoException).code ?? 'EIO';
      const verb = file.split('/').at(-1);
      const hint = errno === 'EACCES' ? 'run as root' : 'see `dmesg`';
      const message = `The kernel's xen-netback refused to ${verb} ${device} (${errno}): ${hint}.`;
      throw new VifdError('ERR_KERNEL_DRIVER', message, { errno, cause });
    }
  }
}

/** Writes to an existing file, opened for writing only: sysfs refuses other modes with EACCES, for root too (fs/kernfs/file.c). */
function writeOnly(path: string, text: string): void {
  const file = openSync(path, constants.O_WRONLY);
  try {
    writeSync(file, text);
  } finally {
    closeSync(file);
  }
}
