import type { VifInfo } from '../vif-info.js';

/** Never rx/tx: the two ends disagree on them. */
export type Direction = 'from-guest' | 'to-guest';

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
