import type { VifInfo } from '../vif-info.js';

/** The direction of a frame. It is not called rx or tx, because the two ends of a vif use these words for opposite directions. */
export type Direction = 'from-guest' | 'to-guest';

export interface Offload {
  /** Offsets in the frame of where a partial checksum begins and where its result goes; 0, 0 for none. */
  readonly csumStart: number;
  readonly csumOffset: number;
  /** `udp` occurs only for frames with VNET_GSO_UDP_L4, which come from a port of your own. */
  readonly gsoType: 'none' | 'tcp4' | 'tcp6' | 'udp';
  readonly gsoSize: number;
}

export type HashedOver = 'ipv4' | 'ipv4-tcp' | 'ipv6' | 'ipv6-tcp';

/** A Toeplitz hash with the guest's own key. */
export interface FlowHash {
  /** The hashed fields: the addresses, and with TCP also the ports. */
  readonly over: HashedOver;
  readonly value: number;
}

/** A frame on the data path. It is valid until the hook returns. */
export interface Frame {
  /** The bytes from the Ethernet header on; up to 64 KiB with segmentation offload. A write changes the frame. */
  readonly bytes: Uint8Array;
  readonly offload: Offload;
  /** The hash that the guest claims for the frame, unchecked; undefined for frames to the guest. */
  readonly hash: FlowHash | undefined;
  /** Returns a copy that stays valid. */
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

/** The result of `Vif.frames()`. */
export interface FrameStream extends AsyncIterableIterator<Frame> {
  /** How many frames were not copied because `limit` copies waited already. */
  readonly missed: number;
}
