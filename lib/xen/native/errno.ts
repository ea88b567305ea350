import { errnoName } from '../../addon.js';

/**
 * What a call fails with for what the other domain did; everything else is the host's own trouble (no memory, no descriptors,
 * no room in a table), and the same call may work later.
 *
 * map: see IsGranterFault in native/grants.h. bind: no such domain, or a port that is not there, not left for us or bound
 * already (xen/common/event_channel.c, evtchn_bind_interdomain), or forbidden by Xen's security module.
 */
const GUEST_FAULTS = {
  map: ['EINVAL'],
  bind: ['EACCES', 'EEXIST', 'EINVAL', 'ENOENT', 'EPERM', 'ESRCH'],
};

/** @param error -errno. */
export function isGuestFault(call: keyof typeof GUEST_FAULTS, error: number): boolean {
  return GUEST_FAULTS[call].includes(errnoName(error));
}
