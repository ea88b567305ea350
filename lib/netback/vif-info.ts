/** The name of a vif as xl and ip(8) print it: `vif<domid>.<handle>`. */
export type VifId = `vif${number}.${number}`;

/** Which vif: the guest's domain, and the number of the device. */
export interface VifAddress {
  /** Both in one name. */
  readonly id: VifId;
  /** The guest's domain. */
  readonly domid: number;
  /** The number of the vif among those of its guest; 0 for the first one. */
  readonly handle: number;
}

/** What the toolstack has configured for a vif. */
export interface VifInfo extends VifAddress {
  /** Empty if the toolstack wrote none. */
  readonly mac: string;
  /** The bridge that the toolstack names; undefined if it names none. */
  readonly bridge: string | undefined;
  /** The MTU that the toolstack wants on the host's side; undefined for the default. The guest's MTU has a key of its own. */
  readonly mtu: number | undefined;
}

/**
 * waiting: the guest has not connected yet. connected: frames move. stopped: the guest broke the protocol (see
 * `reason`); vifd serves it again when it reconnects. closed: the guest or the toolstack closed the device.
 * detached: vifd detached, and the guest stays connected.
 */
export type VifState = 'waiting' | 'connected' | 'stopped' | 'closed' | 'detached';
