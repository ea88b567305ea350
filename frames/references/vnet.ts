import type { Variant } from '../forms/variants.js';

/**
 * The vnet header once more, from linux/virtio_net.h. On purpose neither these values nor the codec below use lib/protocol/vnet.ts, because
 * the table must not depend on the code that it judges.
 */
export const NEEDS_CSUM = 1;
export const DATA_VALID = 2;
export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_TCPV6 = 4;
/** Set in the GSO type if the first segment alone has CWR. */
export const GSO_ECN = 0x80;
export const VNET_BYTES = 12;

export interface Vnet {
  readonly flags: number;
  readonly gso: number;
  readonly headerBytes: number;
  readonly segment: number;
  readonly start: number;
  readonly offset: number;
}

export const NO_OFFLOAD: Vnet = { flags: 0, gso: GSO_NONE, headerBytes: 0, segment: 0, start: 0, offset: 0 };

/** @returns the vnet header of `variant.open`, as a sender that knows its own frame writes it. */
export function vnetOf({ form, frame, start, offset, segment, headerBytes }: Variant): Vnet {
  const { gso, open } = form.protocol;
  if (!open) return frame.length % 2 === 0 ? NO_OFFLOAD : { ...NO_OFFLOAD, flags: DATA_VALID };
  // A frame of one segment needs no GSO: Linux drops it too (virtio_net_hdr_to_skb), if it can segment behind these headers at all.
  const isSegmented = gso !== 0 && frame.length - headerBytes > segment;
  const kind = !isSegmented ? GSO_NONE : gso === 4 ? GSO_TCPV4 : GSO_TCPV6;
  const headers = kind === GSO_NONE ? 0 : headerBytes;
  const size = kind === GSO_NONE ? 0 : segment;
  return { flags: NEEDS_CSUM, gso: kind, headerBytes: headers, segment: size, start, offset };
}

export function bytesOfVnet({ flags, gso, headerBytes, segment, start, offset }: Vnet): Uint8Array {
  const bytes = new Uint8Array(VNET_BYTES);
  const view = new DataView(bytes.buffer);
  bytes[0] = flags;
  bytes[1] = gso;
  view.setUint16(2, headerBytes, true);
  view.setUint16(4, segment, true);
  view.setUint16(6, start, true);
  view.setUint16(8, offset, true);
  return bytes;
}

/** @returns the header as the three words that TestPort takes. */
export function wordsOfVnet(vnet: Vnet): readonly number[] {
  const view = new DataView(bytesOfVnet(vnet).buffer);
  return [0, 4, 8].map((at) => view.getUint32(at, true));
}

export function vnetOfBytes(bytes: Uint8Array): Vnet {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return {
    flags: bytes[0],
    gso: bytes[1],
    headerBytes: view.getUint16(2, true),
    segment: view.getUint16(4, true),
    start: view.getUint16(6, true),
    offset: view.getUint16(8, true),
  };
}
