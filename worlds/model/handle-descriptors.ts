import { closeSync, fstatSync } from 'node:fs';
import { addon, errnoName } from '../../lib/addon.js';
import type { HandleDescriptors, OpenHandle } from '../../lib/testing/model/index.js';

/** A descriptor of a handle is one end of a socket pair: the other end sees when its last duplicate is closed. */
export const handleDescriptors: HandleDescriptors = {
  open: (): OpenHandle => {
    const [seen, descriptor] = must(addon().socketPair());
    return {
      descriptor,
      get isOpen() {
        return isOpen(seen);
      },
      [Symbol.dispose]: () => closeSync(seen),
    };
  },
  duplicate: (descriptor) => must(addon().duplicateDescriptor(descriptor)),
  close: closeSync,
  idOf: (descriptor) => {
    try {
      const { dev, ino } = fstatSync(descriptor, { bigint: true });
      return `${dev}:${ino}`;
    } catch {
      return undefined;
    }
  },
};

const nothing = new Uint8Array(1);

function isOpen(other: number): boolean {
  const received = addon().receiveMessage(other, nothing, 0);
  if (typeof received !== 'number') return false;
  if (errnoName(received) === 'EAGAIN') return true;
  throw new Error(errnoName(received));
}

function must<T>(result: T | number): T {
  if (typeof result === 'number' && result < 0) throw new Error(errnoName(result));
  return result as T;
}
