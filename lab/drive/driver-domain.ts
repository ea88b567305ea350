import { Guest } from './guest.js';
import { must } from './process.js';

/** dom0's second disk: a root like dom0's own (lab.sh, --driver-domain). */
const DISK = '/dev/vdb';
const MOUNTED = '/run/driver-domain';
/** Folders in the domain's root, into which the tests have put the packed vifd and these programs. */
export const STEPS = '/root/steps';
export const DRIVE = '/root/drive';

/**
 * Starts the domain if it is not there. Its root holds the packed vifd in STEPS, and this folder's programs in DRIVE.
 * @param configuration lines of xl.cfg(5).
 */
export async function driverDomain(name: string, configuration: string): Promise<Guest> {
  const there = await Guest.find(name);
  if (there !== undefined) return there;
  await must('mkdir', '-p', MOUNTED);
  await must('mount', DISK, MOUNTED);
  await must('mkdir', '-p', `${MOUNTED}${STEPS}`);
  await must('cp', '/mnt/vifd/build/lab/vifd.tgz', `${MOUNTED}${STEPS}/vifd-0.1.0.tgz`);
  await must('cp', '-r', '/mnt/vifd/build/lab/lab/drive', `${MOUNTED}${DRIVE}`);
  await must('cp', '/mnt/vifd/package.json', `${MOUNTED}${DRIVE}`);
  await must('umount', MOUNTED);
  await must('modprobe', 'xen-blkback');
  const environment = [
    `GUEST_DISK=${DISK}`,
    'GUEST_MEMORY=512',
    `GUEST_XL=${configuration.trim()}`,
    'GUEST_WAIT=180',
  ];
  return Guest.running(name, environment, ['none']);
}
