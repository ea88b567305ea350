import { existsSync, readFileSync } from 'node:fs';
import type { VifInfo } from '../netback/types.js';

const BUS = '/sys/bus/xen-backend';

/**
 * Whether a vif is left to the kernel's xen-netback: one that it serves, and any while it takes what comes. Loaded, the
 * driver claims each new vif at once; who wants both side by side writes 0 into `drivers_autoprobe`.
 */
export function isKernels({ domid, handle }: Pick<VifInfo, 'domid' | 'handle'>, bus = BUS): boolean {
  if (existsSync(`${bus}/devices/vif-${domid}-${handle}/driver`)) return true;
  return existsSync(`${bus}/drivers/vif`) && probesByItself(bus);
}

function probesByItself(bus: string): boolean {
  try {
    return readFileSync(`${bus}/drivers_autoprobe`, 'utf8').trim() !== '0';
  } catch {
    return true;
  }
}
