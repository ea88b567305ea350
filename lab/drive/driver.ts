import { writeFile } from 'node:fs/promises';

/** From here on the kernel's xen-netback serves a vif when it is told to, and no longer each that comes. */
export function holdDriverBack(): Promise<void> {
  return writeFile('/sys/bus/xen-backend/drivers_autoprobe', '0');
}
