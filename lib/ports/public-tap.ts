import type { Port } from './port.js';
import { tap as openTap } from './tap.js';
import type { TapOptions } from './tap-options.js';

/**
 * Makes a tap device, or takes over the persistent tap of that name, for programs that embed vifd. They pass options only, and no descriptors
 * or interfaces as vifd's own modules do. The tap begins without a carrier. `Netback` calls `setCarrier(true)` once a guest is connected; a
 * program that uses the tap without `Netback` calls it itself, and until then the kernel drops what the host sends to the tap.
 * @throws VifdError ERR_ARGUMENT or ERR_TAP.
 */
export function tap(options: TapOptions): Port {
  return openTap(options);
}
