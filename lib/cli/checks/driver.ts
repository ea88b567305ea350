import type { Check } from './check-result.js';
import { namesIn, readText } from './files.js';

/** Checks whether the kernel's xen-netback would take vifs, and which it serves. */
export function kernelDriverCheck(root: string): Check {
  const name = 'kernel driver';
  const bus = `${root}/sys/bus/xen-backend`;
  const driver = `${bus}/drivers/vif`;
  const names = namesIn(driver);
  if (names.length === 0) return absentDriverCheck(root);
  const served = names.flatMap((link) => /^vif-(\d+)-(\d+)$/.exec(link)?.slice(1).join('.') ?? []);
  const serves =
    served.length === 0 ? 'serves none' : `serves ${served.map((vif) => `vif${vif}`).join(', ')}`;
  if (readText(`${bus}/drivers_autoprobe`) === '0')
    return { name, state: 'ok', found: `xen-netback is loaded, ${serves}, and takes none by itself` };
  const remedy =
    served.length === 0
      ? '`rmmod xen-netback`, or `echo 0 >/sys/bus/xen-backend/drivers_autoprobe` to have both'
      : '`echo 0 >/sys/bus/xen-backend/drivers_autoprobe` leaves new vifs to vifd, `vifd adopt` takes over these';
  return { name, state: 'warn', found: `xen-netback is loaded, ${serves}, and takes each new vif`, remedy };
}

const MODPROBE_FOLDERS = ['/etc/modprobe.d', '/run/modprobe.d', '/usr/lib/modprobe.d', '/lib/modprobe.d'];

/** udev loads it for the first vif (its alias is xen-backend:vif), unless it is on a blacklist. */
function absentDriverCheck(root: string): Check {
  const name = 'kernel driver';
  const files = MODPROBE_FOLDERS.flatMap((folder) =>
    namesIn(root + folder)
      .filter((file) => file.endsWith('.conf'))
      .map((file) => `${root}${folder}/${file}`),
  );
  const listed = files.some((file) => /^\s*blacklist\s+xen[-_]netback\s*$/m.test(readText(file) ?? ''));
  if (listed) return { name, state: 'ok', found: 'xen-netback is not loaded, and blacklisted' };
  if (!namesIn(`${root}/run/udev`).includes('control'))
    return { name, state: 'ok', found: 'xen-netback is not loaded, and no udev would load it' };
  return {
    name,
    state: 'warn',
    found: 'xen-netback is not loaded, but udev loads it with the next vif, and it takes that one',
    remedy: "`echo 'blacklist xen-netback' >/etc/modprobe.d/vifd.conf`",
  };
}
