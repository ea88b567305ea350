import { VifdError } from '../errors.js';
import type { LinkSettings } from '../host/links.js';
import type { TapExpectation, TapMemory } from './tap-link.js';

/** Options of `tap`. */
export interface TapOptions {
  /** At most 15 bytes, e.g. `vif7.0`. A persistent tap of that name is taken over. */
  readonly name: string;
  /** Whether the tap, with its bridge membership and counters, stays when this process ends. Default: unchanged. */
  readonly persist?: boolean;
  /** A Linux bridge to join; an error if the tap is in another one. */
  readonly bridge?: string;
  /** A Linux bridge to join if the tap is in none. */
  readonly bridgeIfNone?: string;
  /** The MTU of the interface, 68 to 65521 bytes. Default: unchanged. */
  readonly mtu?: number;
  /** `fe:ff:ff:ff:ff:ff` is what Linux's netback uses. */
  readonly mac?: string;
  /** Default: as it is. */
  readonly up?: boolean;
  /** Whether a new tap can have several queues; an existing one is not changed. Default false. */
  readonly multiQueue?: boolean;
  /** Flags of its bridge port, by their names in sysfs. */
  readonly portFlags?: Readonly<Record<string, string>>;
  /** Settings for a new device only; an existing one keeps its own. */
  readonly ifMade?: Partial<LinkSettings>;
  /** The alias by which a later process finds the tap after a rename (IFLA_IFALIAS). An existing alias stays. */
  readonly alias?: string;
  /** The last settings, for the next port: a device that was deleted is created anew with them. */
  readonly memory?: TapMemory;
  /** Returns the state that the interface should have. `follow` reports a difference even if the interface was never seen in that state. */
  readonly expects?: () => Promise<TapExpectation>;
  /**
   * Descriptors of the tap that outlived the previous process, by queue. While they were open, the device had its carrier, and frames that
   * were sent to it wait. The port owns the descriptors, and uses them whatever name or network namespace the device has now; it closes
   * them if the device was deleted.
   */
  readonly descriptors?: readonly (number | undefined)[];
  /** Called with the descriptor of a queue that was opened anew, to duplicate it for a later process. The descriptor stays the port's. */
  readonly onOpened?: (descriptor: number, queue: number) => void;
  /**
   * Called with ERR_TAP_LIMIT when the kernel refuses to bound the memory of frames that wait in the tap, so that short queues bound it,
   * which are full sooner; called with undefined when a retry has succeeded.
   */
  readonly onShortQueues?: (error: VifdError | undefined) => void;
  /**
   * Called when a queue was closed. Close duplicates of its descriptor too, because the kernel would queue frames there that no process
   * reads.
   */
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
