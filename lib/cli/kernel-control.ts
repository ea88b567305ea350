import { closeSync, constants, existsSync, openSync, readdirSync, writeSync } from 'node:fs';
import { VifdError } from '../errors.js';
import { type BusVif, type KernelDriver, nameOf, XenNetback } from '../host/kernel-driver.js';
import { runProgram } from './program.js';

/** The kernel's driver, as it is told what to do. Apart from `XenNetback`: a daemon that starts needs no programs. */
export interface KernelControl extends KernelDriver {
  /** Loads it without letting it bind what waits: that may be served by vifd. @throws VifdError ERR_KERNEL_DRIVER. */
  load(): Promise<void>;
  /** Returns when it is bound; it connects later. @throws VifdError ERR_KERNEL_DRIVER. */
  bind(vif: BusVif): void;
  /** Returns when it has let go: it has answered all that it took. @throws VifdError ERR_KERNEL_DRIVER. */
  unbind(vif: BusVif): void;
}

/**
 * Autoprobing is the whole bus's: it is off only for as long as the loading takes, and this is done by a program that
 * goes on when we are killed. Devices of other kinds that came meanwhile are offered to their drivers afterwards.
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
      if (free && !device.startsWith('vif-')) this.#tell('drivers_probe', device);
    }
  }

  bind(vif: BusVif): void {
    this.#tell('drivers/vif/bind', nameOf(vif));
  }

  unbind(vif: BusVif): void {
    // An adopt that was killed has told it, and it is still at it.
    if (!this.isBound(vif) && this.serves(vif)) return;
    this.#tell('drivers/vif/unbind', nameOf(vif));
  }

  #devices(): string[] {
    return existsSync(`${this.bus}/devices`) ? readdirSync(`${this.bus}/devices`) : [];
  }

  #tell(file: string, device: string): void {
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

/** Neither for reading nor to be made: where sysfs has no such right it refuses with EACCES, root too (fs/kernfs/file.c). */
function writeOnly(path: string, text: string): void {
  const file = openSync(path, constants.O_WRONLY);
  try {
    writeSync(file, text);
  } finally {
    closeSync(file);
  }
}
