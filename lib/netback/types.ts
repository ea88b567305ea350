/** What vifd shows of a vif, and how programs look at its frames. */

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

/** Never rx/tx: the two ends disagree on them. */
export type Direction = 'from-guest' | 'to-guest';

export interface Flow {
  readonly frames: number;
  readonly bytes: number;
  /** By a hook, or as the guest's multicast list says. */
  readonly filtered: number;
  /** For want of room in vifd or, before that, in the port; or because the guest cannot take such a frame. */
  readonly dropped: number;
  /** Frames that could not be read or written: bad grants, bad sizes. */
  readonly errors: number;
  /** Dropped because a hook threw or returned no verdict (ERR_HOOK). */
  readonly hookErrors: number;
  /** Crossings of the data path; frames / batches tells how well it batches. */
  readonly batches: number;
}

export interface VifStats {
  readonly fromGuest: Flow;
  readonly toGuest: Flow;
}

export interface Offload {
  /** Offsets in the frame of where a partial checksum begins and where its result goes; 0, 0 for none. */
  readonly csumStart: number;
  readonly csumOffset: number;
  /** `udp`: only for frames that a port of your own gives with VNET_GSO_UDP_L4. */
  readonly gsoType: 'none' | 'tcp4' | 'tcp6' | 'udp';
  readonly gsoSize: number;
}

export type HashedOver = 'ipv4' | 'ipv4-tcp' | 'ipv6' | 'ipv6-tcp';

/** A Toeplitz hash, by a key that is the guest's own. */
export interface FlowHash {
  /** Addresses, and with TCP the ports. */
  readonly over: HashedOver;
  readonly value: number;
}

/** A frame on its way. Borrowed: valid until the hook returns. */
export interface Frame {
  /** From the Ethernet header on; up to 64 KiB where segmentation is offloaded. Writing changes the frame. */
  readonly bytes: Uint8Array;
  readonly offload: Offload;
  /** What the guest says the frame's hash is. It may be anything; undefined for frames to the guest. */
  readonly hash: FlowHash | undefined;
  /** A frame of its own, to keep. */
  copy(): Frame;
}

/**
 * Runs inline on the data path, in order of registration. A returned array (14 bytes to 64 KiB, not shared or resizable)
 * replaces the frame's bytes and keeps its offload, which moves with the TCP or UDP header (a hook may add a tag or a tunnel). If the array
 * does not have that header, the frame loses its offload, and the hook must complete its checksum. A hook that throws, or returns anything
 * else, a promise too, drops the frame: `Flow.hookErrors` counts these, and the netback's `error` reports them (ERR_HOOK), once for each kind.
 */
export type FrameHook = (frame: Frame, direction: Direction) => 'pass' | 'drop' | Uint8Array;

/** A FrameHook for all vifs. */
export type VifHook = (frame: Frame, direction: Direction, vif: VifInfo) => ReturnType<FrameHook>;

/** What `Vif.frames()` gives. */
export interface FrameStream extends AsyncIterableIterator<Frame> {
  /** Frames of which no copy was made, since `limit` waited already. */
  readonly missed: number;
}

export type PayloadMode = 'map' | 'copy';
