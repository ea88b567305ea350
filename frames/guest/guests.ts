import type { Takes } from '../references/netfront.js';

/** A kind of guest, and the offloads that it takes. */
export interface GuestKind {
  readonly name: string;
  readonly takes: Takes;
  /** Keys of its directory in the store that differ from those of a guest that takes everything. */
  readonly keys: Readonly<Record<string, string>>;
}

const ALL: Takes = { checksumV4: true, checksumV6: true, gsoV4: true, gsoV6: true, scatterGather: true };
const NO_GSO = { 'feature-gso-tcpv4': '0', 'feature-gso-tcpv6': '0' };
const NO_CHECKSUM = { 'feature-no-csum-offload': '1', 'feature-ipv6-csum-offload': '0' };

export const GUESTS: readonly GuestKind[] = [
  { name: 'all', takes: ALL, keys: {} },
  {
    name: 'no IPv6 csum',
    takes: { ...ALL, checksumV6: false, gsoV6: false },
    keys: { 'feature-ipv6-csum-offload': '0' },
  },
  {
    name: 'no csum',
    takes: { ...ALL, checksumV4: false, checksumV6: false, gsoV4: false, gsoV6: false },
    keys: NO_CHECKSUM,
  },
  { name: 'no GSO', takes: { ...ALL, gsoV4: false, gsoV6: false }, keys: NO_GSO },
  {
    name: 'no SG',
    takes: { ...ALL, gsoV4: false, gsoV6: false, scatterGather: false },
    keys: { 'feature-sg': '0' },
  },
];
