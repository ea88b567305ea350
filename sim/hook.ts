import type { VifHook } from '../lib/netback/frames/frame.js';
import { VNET_HEADER_BYTES } from '../lib/protocol/vnet.js';
import type { HookPlan } from './scenario.js';
import type { SimGuest } from './sim-guest.js';
import { framesOf } from './stream.js';

const DROPS_EVERY = 5;
const REPLACES_EVERY = 3;
/** Lengths for frames that are replaced: one shorter and one longer than most; GSO frames keep their length. */
const LENGTHS = [60, 1400];
const PLAIN_BYTES_MAX = 1514;

/** A hook that drops some frames, or replaces their bytes, and reports which to the oracle. */
export function hookOf(plan: HookPlan, guests: readonly SimGuest[]): VifHook | undefined {
  if (plan === 'none') return undefined;
  if (plan === 'pass') return () => 'pass';
  return ({ bytes, offload }, _direction, { id }) => {
    const found = guests.find(({ vif }) => vif === id)?.streamOf(bytes);
    if (found === undefined) return 'pass';
    const { stream, sequence } = found;
    if (plan === 'drop') {
      if (sequence % DROPS_EVERY !== 0) return 'pass';
      stream.hooked(sequence, 0);
      return 'drop';
    }
    if (sequence % REPLACES_EVERY !== 0) return 'pass';
    if (bytes.length > PLAIN_BYTES_MAX) return bytes.slice();
    const replaced = LENGTHS[sequence % LENGTHS.length];
    const made = new Uint8Array(VNET_HEADER_BYTES + replaced);
    const frames = framesOf(stream.seed, PLAIN_BYTES_MAX);
    frames.write(made, VNET_HEADER_BYTES, replaced, sequence, offload.csumStart > 0);
    stream.hooked(sequence, replaced);
    return made.subarray(VNET_HEADER_BYTES);
  };
}
