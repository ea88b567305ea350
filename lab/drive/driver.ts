import { writeFile } from 'node:fs/promises';

/** From now on the kernel's xen-netback serves only vifs that a test binds to it, not each new one. */
export function holdDriverBack(): Promise<void> {
  return writeFile('/sys/bus/xen-backend/drivers_autoprobe', '0');
}
