import { type Found, findTransport } from './linux.js';
import { completed, segmented } from './offloads.js';

/** A frame as a guest's netfront gets it: its bytes, the flags of its first slot, and its GSO extra. */
export interface FromBackend {
  readonly bytes: Uint8Array;
  readonly csumBlank: boolean;
  readonly dataValidated: boolean;
  /** The IP version that the GSO type names; 0: no GSO extra. */
  readonly gso: number;
  readonly segment: number;
  /** Slots of data. */
  readonly slots: number;
}

/** The offloads that a guest takes. */
export interface Takes {
  readonly checksumV4: boolean;
  readonly checksumV6: boolean;
  readonly gsoV4: boolean;
  readonly gsoV6: boolean;
  readonly scatterGather: boolean;
}

/** Why Linux in the guest loses a frame; or the frames that its stack gets in the end. */
export type Arrived = { readonly lost: string } | { readonly frames: readonly Uint8Array[] };

/** Slots of data that Linux's netfront takes (xennet_get_responses: XEN_NETIF_NR_SLOTS_MIN, and one if the first is short). */
const SLOTS_MAX = 18;

/**
 * Treats a frame as Linux's netfront and its stack do (drivers/net/xen-netfront.c: xennet_set_skb_gso, checksum_setup;
 * net/core/skbuff.c: skb_checksum_setup): it finds the transport header, completes or segments there, or drops the frame.
 */
export function arrive(frame: FromBackend, takes: Takes): Arrived {
  const refused = notAgreed(frame, takes);
  if (refused !== undefined) return { lost: refused };
  const { bytes, gso, segment } = frame;
  // netfront repairs a GSO frame without csum_blank (rx_gso_checksum_fixup): that works, but is slow.
  if (gso === 0 && !frame.csumBlank) return { frames: [bytes] };
  if (gso !== 0 && !frame.dataValidated) return { lost: 'GSO without data_validated: Windows is unusable' };
  const found: Found | string = findTransport(bytes);
  if (typeof found === 'string') return { lost: `skb_checksum_setup fails: ${found}` };
  if (gso === 0) return { frames: [completed(bytes, found.start, found.offset)] };
  if (found.protocol !== 'tcp' || found.version !== gso)
    return { lost: `GSO TCPv${gso} on ${found.protocol} over IPv${found.version}` };
  return { frames: segmented(bytes, found, segment) };
}

function notAgreed({ bytes, csumBlank, gso, segment, slots }: FromBackend, takes: Takes): string | undefined {
  if (slots > SLOTS_MAX) return `${slots} slots of data`;
  if (slots > 1 && !takes.scatterGather) return 'several slots for a guest without feature-sg';
  if (gso !== 0 && segment === 0) return 'GSO of size 0';
  if (gso !== 0 && !(gso === 4 ? takes.gsoV4 : takes.gsoV6))
    return `GSO TCPv${gso}, which the guest does not take`;
  if (!csumBlank) return undefined;
  const found = findTransport(bytes);
  const version = typeof found === 'string' ? 4 : found.version;
  const taken = version === 4 ? takes.checksumV4 : takes.checksumV6;
  return taken ? undefined : `csum_blank over IPv${version}, which the guest does not take`;
}
