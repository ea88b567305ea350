import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { hostFault, hostRemedy, VifdError } from '../../errors.js';

/** A batch that failed as a whole (OPS_ERRNO). @param what failed. */
export function batchFault(what: string, errno: number): VifdError {
  return hostFault(what, getSystemErrorName(-errno));
}

/** The host's side is full, which is no fault: the frame is dropped and counted. */
const EAGAIN = constants.errno.EAGAIN;
/** Linux's tun refuses a frame whose vnet header contradicts it. */
const EINVAL = constants.errno.EINVAL;
/** The port's other end has no receiver, as a network card without a cable. */
const ENOTCONN = constants.errno.ENOTCONN;
/** Of a tap whose device was deleted; libuv, and so Node, has no name for it. */
const EBADFD = 77;

/** Whether a frame's status (FRAME_STATUS) says that the port had no room for it. */
export function isFull(status: number): boolean {
  return status === EAGAIN;
}

/**
 * A port failed frames with this errno (FRAMES_ERRNO): undefined when that is no fault of the port's.
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
 * xen/grant_table.h: statuses that only a frontend's own fault explains (others may pass, like -12 eagain; and a guest that
 * was destroyed, -2 bad_domain, has broken nothing: its vif ends with its node, and its frames are refused until then). A
 * reference that is not granted to us is a general error for Xen (xen/common/grant_table.c, _set_status_v1).
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
 * A frontend that names grants which are not its own to give breaks the protocol. Linux answers each with an
 * error for ever; we answer, then stop the vif, so that a fault is seen where it is.
 */
export function isForeignFault(status: number): boolean {
  return FOREIGN_FAULTS.has(status);
}
