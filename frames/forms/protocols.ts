/** A frame's transport header and offload. */
export interface Protocol {
  readonly name: string;
  readonly transport: 'tcp' | 'udp';
  readonly open: boolean;
  /** The IP version that the GSO type names; 0: no segmentation. */
  readonly gso: 0 | 4 | 6;
  /** How the frame's headers contradict its offload. */
  readonly broken?: 'data offset' | 'length' | 'transport';
  /** Only guests send such frames, no port does. */
  readonly fromGuestOnly?: true;
}

export const PROTOCOLS: readonly Protocol[] = [
  { name: 'plain TCP', transport: 'tcp', open: false, gso: 0 },
  { name: 'plain UDP', transport: 'udp', open: false, gso: 0 },
  { name: 'TCP open', transport: 'tcp', open: true, gso: 0 },
  { name: 'UDP open', transport: 'udp', open: true, gso: 0 },
  { name: 'GSO TCPv4', transport: 'tcp', open: true, gso: 4 },
  { name: 'GSO TCPv6', transport: 'tcp', open: true, gso: 6 },
  { name: 'GSO v4 on UDP', transport: 'udp', open: true, gso: 4, broken: 'transport', fromGuestOnly: true },
  { name: 'GSO v6 on UDP', transport: 'udp', open: true, gso: 6, broken: 'transport', fromGuestOnly: true },
  { name: 'TCP cut short', transport: 'tcp', open: true, gso: 0, broken: 'length', fromGuestOnly: true },
  {
    name: 'bad data offset',
    transport: 'tcp',
    open: true,
    gso: 4,
    broken: 'data offset',
    fromGuestOnly: true,
  },
];
