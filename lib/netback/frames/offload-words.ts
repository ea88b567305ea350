import type { Offload } from '../../ports/offload.js';
import * as vnet from '../../protocol/vnet.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { VNET_FLAG_NEEDS_CSUM, VNET_GSO_NONE, VNET_GSO_TCPV4, VNET_GSO_TCPV6, VNET_GSO_UDP_L4 } = vnet;
const { vnetCsumOffset, vnetCsumStart, vnetGsoBytes, vnetGsoKind, vnetWord } = vnet;

const GSO_TYPES: ReadonlyMap<number, Offload['gsoType']> = new Map([
  [VNET_GSO_TCPV4, 'tcp4'],
  [VNET_GSO_TCPV6, 'tcp6'],
  [VNET_GSO_UDP_L4, 'udp'],
]);

// Each function returns a member of `Offload` from the vnet header in front of `offset` in the arena, and allocates nothing.

export function csumStartOf(words: Uint32Array, offset: number): number {
  return hasPartialChecksum(words, offset) ? vnetCsumStart(vnetWord(words, offset, 1)) : 0;
}

export function csumOffsetOf(words: Uint32Array, offset: number): number {
  return hasPartialChecksum(words, offset) ? vnetCsumOffset(vnetWord(words, offset, 2)) : 0;
}

export function gsoTypeOf(words: Uint32Array, offset: number): Offload['gsoType'] {
  return GSO_TYPES.get(vnetGsoKind(vnetWord(words, offset, 0))) ?? 'none';
}

export function gsoSizeOf(words: Uint32Array, offset: number): number {
  const kind = vnetGsoKind(vnetWord(words, offset, 0));
  return kind === VNET_GSO_NONE ? 0 : vnetGsoBytes(vnetWord(words, offset, 1));
}

function hasPartialChecksum(words: Uint32Array, offset: number): boolean {
  return (vnetWord(words, offset, 0) & VNET_FLAG_NEEDS_CSUM) !== 0;
}
