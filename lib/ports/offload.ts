import { VifdError } from '../errors.js';
import {
  VNET_FLAG_DATA_VALID,
  VNET_FLAG_NEEDS_CSUM,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_GSO_UDP_L4,
  vnetCsumOffset,
  vnetCsumStart,
  vnetFirst,
  vnetFlags,
  vnetGsoBytes,
  vnetGsoKind,
  vnetWordOfBytes,
  writeVnetBytes,
} from '../protocol/vnet.js';
import { FRAME_BYTES_MAX } from './frame-batch.js';

/** The work that a frame's sender left to its reader. */
export interface Offload {
  /** Where a partial checksum begins, in bytes from the Ethernet header; 0, with a `csumOffset` of 0, for none. */
  readonly csumStart: number;
  /** Where in the checksummed part the result goes, in bytes from `csumStart`; 0 for none. */
  readonly csumOffset: number;
  /** `udp` occurs only for frames with VNET_GSO_UDP_L4, which come from a port of your own. */
  readonly gsoType: 'none' | 'tcp4' | 'tcp6' | 'udp';
  /** The payload's bytes in each segment; 0 without segmentation. */
  readonly gsoSize: number;
}

/** The offload of a frame that a program gets or sends. */
export interface FrameOffload extends Offload {
  /** Whether its sender or the host has checked the TCP or UDP checksum, or completed it, so that the receiver need not. */
  readonly validated: boolean;
}

const GSO_TYPES = {
  none: VNET_GSO_NONE,
  tcp4: VNET_GSO_TCPV4,
  tcp6: VNET_GSO_TCPV6,
  udp: VNET_GSO_UDP_L4,
} as const;
const GSO_NAMES = new Map(Object.entries(GSO_TYPES).map(([name, type]) => [type as number, name]));

/** Reads the offload from a vnet header, which begins with byte `at`. */
export function readOffload(bytes: Uint8Array, at: number): FrameOffload {
  const first = vnetWordOfBytes(bytes, at, 0);
  const second = vnetWordOfBytes(bytes, at, 1);
  const third = vnetWordOfBytes(bytes, at, 2);
  const kind = vnetGsoKind(first);
  const isPartial = (vnetFlags(first) & VNET_FLAG_NEEDS_CSUM) !== 0;
  return {
    csumStart: isPartial ? vnetCsumStart(second) : 0,
    csumOffset: isPartial ? vnetCsumOffset(third) : 0,
    gsoType: (GSO_NAMES.get(kind) ?? 'none') as Offload['gsoType'],
    gsoSize: kind === VNET_GSO_NONE ? 0 : vnetGsoBytes(second),
    validated: (vnetFlags(first) & (VNET_FLAG_DATA_VALID | VNET_FLAG_NEEDS_CSUM)) !== 0,
  };
}

/** Writes a vnet header that begins with byte `at`. Numbers that a header has no room for lose their upper bits. */
export function writeOffload(bytes: Uint8Array, at: number, offload: Partial<FrameOffload> = {}): void {
  const { csumStart = 0, csumOffset = 0, gsoType = 'none', gsoSize = 0, validated = false } = offload;
  const flags = csumStart > 0 ? VNET_FLAG_NEEDS_CSUM : validated ? VNET_FLAG_DATA_VALID : 0;
  const first = vnetFirst(flags, GSO_TYPES[gsoType] ?? VNET_GSO_NONE, 0);
  writeVnetBytes(bytes, at, first, (gsoSize & 0xffff) | (csumStart << 16), csumOffset & 0xffff);
}

/** The length of an Ethernet header. */
const FRAME_BYTES_MIN = 14;

/** @throws VifdError ERR_ARGUMENT for what cannot be a frame. */
export function requireFrame(frame: unknown): void {
  const length = frame instanceof Uint8Array ? frame.length : -1;
  if (length >= FRAME_BYTES_MIN && length <= FRAME_BYTES_MAX) return;
  const given = length < 0 ? `a ${typeof frame}` : `${length} bytes`;
  const message = `A frame is a Uint8Array of ${FRAME_BYTES_MIN} to ${FRAME_BYTES_MAX} bytes from the Ethernet header on, not ${given}.`;
  throw new VifdError('ERR_ARGUMENT', message);
}
