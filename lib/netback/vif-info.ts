/** As xl and ip(8) print it: `vif<domid>.<handle>`. */
export type VifId = `vif${number}.${number}`;

export interface VifAddress {
  readonly id: VifId;
  readonly domid: number;
  readonly handle: number;
}

export interface VifInfo extends VifAddress {
  /** Empty when the toolstack wrote none. */
  readonly mac: string;
  readonly bridge: string | undefined;
  /** What the toolstack wants on the host's side; undefined: the default. The guest has a key of its own for it. */
  readonly mtu: number | undefined;
}

/**
 * waiting: the guest has not connected yet. connected: frames move. stopped: the guest broke the protocol,
 * see `reason`; it is served again when it reconnects. closed: the guest or the toolstack closed the device.
 * detached: we let go and left the guest connected.
 */
export type VifState = 'waiting' | 'connected' | 'stopped' | 'closed' | 'detached';
