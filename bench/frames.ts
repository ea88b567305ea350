import { GSO_TYPE_NONE, GSO_TYPE_TCPV4 } from '../lib/protocol/netif.js';
import { rxSlotsNeeded } from '../lib/protocol/rx.js';
import {
  VNET_FLAG_NEEDS_CSUM,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_HEADER_BYTES,
  vnetFirst,
  vnetSecond,
  writeVnetBytes,
} from '../lib/protocol/vnet.js';
import { PAGE_SIZE } from '../lib/xen/seam.js';

/** A frame as a Linux guest's TCP sends and receives it: IPv4 with a checksum that is still to be completed. */
export interface BenchFrame {
  readonly name: string;
  /** As the guest sends it. */
  readonly bytes: Uint8Array;
  /** As a port hands it over for the guest: its vnet header in front. */
  readonly fromPort: Uint8Array;
  /** Where the guest has its bytes: one granted page a piece. */
  readonly pieces: readonly Piece[];
  readonly gsoType: number;
  readonly gsoSize: number;
  /** Slots of the TX ring, extra info included. */
  readonly txSlots: number;
  /** The same for the RX ring. */
  readonly rxSlots: number;
}

export interface Piece {
  readonly offset: number;
  readonly length: number;
}

const HEADER_BYTES = 14 + 20 + 20;
const TCP_AT = 34;
const TCP_CHECKSUM = 16;
const SEGMENT_BYTES = 1448;
/** Linux leaves room for headers in front; also, nothing is aligned. */
const HEADROOM = 66;

export const FRAMES: readonly BenchFrame[] = [
  frame('60 B', 60),
  frame('1514 B', 1514),
  // From the guest the size field of a slot is the limit, to the guest that of IP.
  frame('64 KiB', 65535, 14 + 65535),
];

function frame(name: string, size: number, sizeToGuest = size): BenchFrame {
  const gso = size > 1514;
  const gsoType = gso ? GSO_TYPE_TCPV4 : GSO_TYPE_NONE;
  const pieces = gso ? pagesBehindHeaders(size) : [{ offset: HEADROOM, length: size }];
  const gsoSize = gso ? SEGMENT_BYTES : 0;
  return {
    name,
    bytes: tcpFrame(size),
    fromPort: withVnetHeader(tcpFrame(sizeToGuest), gsoType, gsoSize),
    pieces,
    gsoType,
    gsoSize,
    txSlots: pieces.length + (gso ? 1 : 0),
    rxSlots: rxSlotsNeeded(sizeToGuest, gsoType),
  };
}

/** Headers in a piece of their own, then whole pages. */
function pagesBehindHeaders(size: number): Piece[] {
  const pieces = [{ offset: HEADROOM, length: HEADER_BYTES + 12 }];
  for (let at = pieces[0].length; at < size; at += PAGE_SIZE) {
    pieces.push({ offset: 0, length: Math.min(PAGE_SIZE, size - at) });
  }
  return pieces;
}

function tcpFrame(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < size; i++) bytes[i] = (i * 131) >>> 3;
  // A destination that no host has: a tap's stack drops it after receiving it.
  bytes.set([0x02, 0, 0, 0, 0, 0x99, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x00]);
  view.setUint8(14, 0x45);
  view.setUint8(15, 0);
  view.setUint16(16, size - 14);
  view.setUint16(20, 0x4000);
  view.setUint8(22, 64);
  view.setUint8(23, 6);
  bytes.set([10, 0, 0, 1, 10, 0, 0, 2], 26);
  view.setUint8(46, 5 << 4);
  return bytes;
}

function withVnetHeader(frameBytes: Uint8Array, gsoType: number, gsoSize: number): Uint8Array {
  const out = new Uint8Array(VNET_HEADER_BYTES + frameBytes.length);
  const first =
    gsoType === GSO_TYPE_NONE
      ? vnetFirst(VNET_FLAG_NEEDS_CSUM, VNET_GSO_NONE, 0)
      : vnetFirst(VNET_FLAG_NEEDS_CSUM, VNET_GSO_TCPV4, HEADER_BYTES);
  writeVnetBytes(out, 0, first, vnetSecond(gsoSize, TCP_AT), TCP_CHECKSUM);
  out.set(frameBytes, VNET_HEADER_BYTES);
  return out;
}
