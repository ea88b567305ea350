import { VifdError } from '../errors.js';
import type { LinkSettings } from '../host/links.js';
import type { TapExpectation, TapMemory } from './tap-link.js';

export interface TapOptions {
  /** At most 15 bytes, e.g. `vif7.0`. A persistent tap of that name is taken over. */
  readonly name: string;
  /** Stays when this process ends, so that bridge membership and counters do. Default: as it is. */
  readonly persist?: boolean;
  /** A Linux bridge to join; an error when it is in another. */
  readonly bridge?: string;
  /** A Linux bridge to join, where it is in none. */
  readonly bridgeIfNone?: string;
  readonly mtu?: number;
  /** `fe:ff:ff:ff:ff:ff` is what Linux's netback uses. */
  readonly mac?: string;
  /** Default: as it is. */
  readonly up?: boolean;
  /** Made to have several queues, if it is made here; one that is there already stays as it is. Default false. */
  readonly multiQueue?: boolean;
  /** Flags of its bridge's port, by their names in sysfs. */
  readonly portFlags?: Readonly<Record<string, string>>;
  /** Only for a device that is made here; one that is there already stays as it was set up. */
  readonly ifMade?: Partial<LinkSettings>;
  /** What it is to be found by after it was renamed (IFLA_IFALIAS). An alias that is there already stays. */
  readonly alias?: string;
  /** Holds how it was set up last, from one port to the next: a device that was deleted is made anew so. */
  readonly memory?: TapMemory;
  /** What it has to be, where it has not been seen so: `follow` reports it when it is not. */
  readonly expects?: () => Promise<TapExpectation>;
  /**
   * Descriptors of it that outlived the previous process, by queue: the device has kept its carrier, and what was sent to it meanwhile
   * waits. Owned by the port from then on, and used whatever name or network namespace the device has now. Closed and not used
   * when the device was deleted.
   */
  readonly descriptors?: readonly (number | undefined)[];
  /** Is lent the descriptor of a queue that was opened anew, to duplicate it for a later process. */
  readonly onOpened?: (descriptor: number, queue: number) => void;
  /**
   * Called with ERR_TAP_LIMIT when the kernel refuses to bound the memory of frames that wait in the tap, so that short queues bound it,
   * which are full sooner; called with undefined when a retry has succeeded.
   */
  readonly onShortQueues?: (error: VifdError | undefined) => void;
  /** The queue was closed. Close duplicates of its descriptor too: the kernel would give them frames that nobody reads. */
  readonly onClosed?: (queue: number) => void;
}

const MTU_MIN = 68;
const MTU_MAX = 65_521;

/** Whether Linux takes it for the name of an interface (net/core/dev.c, dev_valid_name); a % would be a template for a number. */
export function isInterfaceName(name: string): boolean {
  return /^[^\s/:%\0]+$/.test(name) && Buffer.byteLength(name) <= 15 && name !== '.' && name !== '..';
}

function requireName(what: string, name: string): void {
  if (isInterfaceName(name)) return;
  throw new VifdError(
    'ERR_ARGUMENT',
    `${JSON.stringify(name)} cannot name a ${what}: give 1 to 15 bytes without spaces, slashes, colons or %.`,
  );
}

/** @throws VifdError ERR_ARGUMENT for a name, MTU or MAC address that Linux does not take. */
export function requireValid({ name, bridge, bridgeIfNone, mtu, mac }: TapOptions): void {
  requireName('tap', name);
  for (const joined of [bridge, bridgeIfNone]) if (joined !== undefined) requireName('bridge', joined);
  if (mtu !== undefined && !(Number.isInteger(mtu) && mtu >= MTU_MIN && mtu <= MTU_MAX)) {
    throw new VifdError('ERR_ARGUMENT', `Tap ${name}: ${mtu} is no MTU: give ${MTU_MIN} to ${MTU_MAX}.`);
  }
  if (mac !== undefined && !/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac)) {
    throw new VifdError(
      'ERR_ARGUMENT',
      `Tap ${name}: ${mac} is no MAC address: write it as fe:ff:ff:ff:ff:ff.`,
    );
  }
}
