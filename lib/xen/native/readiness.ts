import { addon, errnoName } from '../../addon.js';
import { VifdError } from '../../errors.js';
import type { PolledFd } from '../store/device.js';

/** Waits for /dev/xen/xenbus on the event loop, so that the store need not ask again and again. */
export function pollReadiness(fd: number, onReadable: () => void): PolledFd {
  const close = addon().watch(fd, onReadable);
  if (typeof close === 'number') {
    throw new VifdError('ERR_XEN_UNAVAILABLE', `The xenstore device cannot be polled: ${errnoName(close)}.`, {
      errno: errnoName(close),
    });
  }
  // The kernel wakes us when the answer is there: nothing to hurry.
  return { hurry: () => {}, [Symbol.dispose]: close };
}
