import { errnoName } from '../../addon.js';

/**
 * The errnos, by call, that mean a fault of the other domain. Every other errno is a fault of this host (no memory, no descriptors,
 * no room in a table), and the same call may succeed later.
 *
 * map: see IsGranterFault in native/grants.h. bind: there is no such domain; the port does not exist, is not reserved for this domain or is
 * already bound (xen/common/event_channel.c, evtchn_bind_interdomain); or Xen's security module forbids it.
 */
const GUEST_FAULTS = {
  map: ['EINVAL'],
  bind: ['EACCES', 'EEXIST', 'EINVAL', 'ENOENT', 'EPERM', 'ESRCH'],
};

/** @param error -errno. */
export function isGuestFault(call: keyof typeof GUEST_FAULTS, error: number): boolean {
  return GUEST_FAULTS[call].includes(errnoName(error));
}
