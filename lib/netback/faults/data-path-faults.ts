import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { hostFault, hostRemedy, VifdError } from '../../errors.js';

/** Returns the fault of a batch that failed as a whole (OPS_ERRNO). @param what failed. */
export function batchFault(what: string, errno: number): VifdError {
  return hostFault(what, getSystemErrorName(-errno));
}

/** The status of a frame for which the port has no room. That is no fault; the frame is dropped and counted. */
const EAGAIN = constants.errno.EAGAIN;
/** The status with which Linux's tun refuses a frame that contradicts its vnet header. */
const EINVAL = constants.errno.EINVAL;
/** The status if the port's other end has no receiver, as a network card without a cable. */
const ENOTCONN = constants.errno.ENOTCONN;
/** The errno of a tap whose device was deleted; libuv, and so Node, has no name for it. */
const EBADFD = 77;

/** Whether a frame's status (FRAME_STATUS) means that the port had no room for it. */
export function isFull(status: number): boolean {
  return status === EAGAIN;
}

/**
 * Returns the fault of a port that failed frames with this errno (FRAMES_ERRNO); undefined if the errno is no fault of the port.
 * @param what failed.
 */
export function portFault(what: string, errno: number): VifdError | undefined {
  if (errno === 0 || errno === EAGAIN || errno === EINVAL || errno === ENOTCONN) return undefined;
  const name = errno === EBADFD ? 'EBADFD' : getSystemErrorName(-errno);
  const message = `${what} failed (${name}): vifd tries again until it works; ${PORT_REMEDIES[name] ?? hostRemedy(name)}.`;
  return new VifdError('ERR_TAP', message, { errno: name });
}

const PORT_REMEDIES: Record<string, string> = {
  EBADFD: 'its tap was deleted',
  EIO: 'its interface may be down: `ip link set up`',
};

/**
 * Statuses of xen/grant_table.h that only a frontend's own fault explains. Others may be temporary, like -12 eagain; and -2 bad_domain means
 * a guest that was destroyed, which has broken nothing: its vif ends with its node, and its frames are refused until then. Xen reports a
 * reference that is not granted to this domain as a general error (xen/common/grant_table.c, _set_status_v1).
 */
const GNTST_GENERAL_ERROR = -1;
const GNTST_BAD_GNTREF = -3;
const GNTST_PERMISSION_DENIED = -8;
const FOREIGN_FAULTS: ReadonlySet<number> = new Set([
  GNTST_GENERAL_ERROR,
  GNTST_BAD_GNTREF,
  GNTST_PERMISSION_DENIED,
]);

/**
 * Whether a status shows that the frontend named a grant that it has not given to this domain, which breaks the protocol. Linux responds to
 * each such request with an error, for ever; vifd responds and then stops the vif, so that the operator sees which guest is at fault.
 */
export function isForeignFault(status: number): boolean {
  return FOREIGN_FAULTS.has(status);
}

/** Why a vif stops whose guest named such a grant for a frame. */
export function badGrant(ref: number, status: number): string {
  return `bad grant reference ${ref} (status ${status})`;
}
