import { addon, errnoName } from '../../addon.js';
import { VifdError } from '../../errors.js';
import type { ConnectDescriptor } from '../store/descriptor.js';
import type { PolledFd, Readiness } from '../store/readiness.js';

/** The functions of the addon that a store's connection uses. */
export const storeIo: { readonly readiness: Readiness; readonly connectSocket: ConnectDescriptor } = {
  readiness: pollReadiness,
  connectSocket,
};

/** Waits for a descriptor on the event loop, so that the store need not poll it by a timer. */
function pollReadiness(fd: number, onReadable: () => void): PolledFd {
  const close = addon().watch(fd, onReadable);
  if (typeof close === 'number') {
    throw new VifdError(
      'ERR_XEN_UNAVAILABLE',
      `The connection to xenstore cannot be polled: ${errnoName(close)}.`,
      {
        errno: errnoName(close),
      },
    );
  }
  // The kernel wakes the event loop when a response is there, so `hurry` has nothing to do.
  return { hurry: () => {}, [Symbol.dispose]: close };
}

function connectSocket(path: string): number {
  const fd = addon().connectUnix(path);
  if (fd >= 0) return fd;
  const code = errnoName(fd);
  throw Object.assign(new Error(`connect ${code} ${path}`), { code });
}
