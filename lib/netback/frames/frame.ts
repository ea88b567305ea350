import type { FrameOffload, Offload } from '../../ports/offload.js';
import type { VifInfo } from '../vif-info.js';
import type { Redirect } from './redirect.js';

/** The direction of a frame. It is not called rx or tx, because the two ends of a vif use these words for opposite directions. */
export type Direction = 'from-guest' | 'to-guest';

/** The fields of which a FlowHash was made. */
export type HashedOver = 'ipv4' | 'ipv4-tcp' | 'ipv6' | 'ipv6-tcp';

/** A Toeplitz hash with the guest's own key. */
export interface FlowHash {
  /** The hashed fields: the addresses, and with TCP also the ports. */
  readonly over: HashedOver;
  /** The hash, an unsigned number of 32 bits. */
  readonly value: number;
}

/** A frame on the data path. It is valid until the hook returns. */
export interface Frame {
  /** The bytes from the Ethernet header on; up to 64 KiB with segmentation offload. A write changes the frame. */
  readonly bytes: Uint8Array;
  /** What the sender left to the receiver: a checksum, or segments. */
  readonly offload: FrameOffload;
  /** The hash that the guest claims for the frame, unchecked; undefined for frames to the guest. */
  readonly hash: FlowHash | undefined;
  /** Returns a copy that stays valid. */
  copy(): Frame;
}

/**
 * Runs inline on the data path, in order of registration. A returned array (14 bytes to 64 KiB, not shared or resizable)
 * replaces the frame's bytes and keeps its offload, which moves with the TCP or UDP header (a hook may add a tag or a tunnel). If the array
 * does not have that header, the frame loses its offload, and the hook must complete its checksum. A `Redirect` sends the frame to another guest
 * (see `redirect`), and later hooks do not see it. A hook that throws, or returns anything else, a promise too, drops the frame: `Flow.hookErrors` counts these, and the netback's `error` reports them (ERR_HOOK), once for each kind.
 */
export type FrameHook = (frame: Frame, direction: Direction) => 'pass' | 'drop' | Uint8Array | Redirect;

/** A FrameHook for all vifs. `vif` describes the vif: `Netback.vifs` and `attached` have the Vif of that id. */
export type VifHook = (frame: Frame, direction: Direction, vif: VifInfo) => ReturnType<FrameHook>;

/**
 * The head of a frame, for a FrameFilter. Its reads do not allocate (but see `u32`). vifd passes the same object for each frame, so it is valid
 * until the filter returns. Afterwards its length is 0, and each read throws.
 */
export interface FrameHeaders extends Offload {
  /** The length of the whole frame, in bytes; up to 65553 with segmentation offload. */
  readonly length: number;
  /** How many of its first bytes can be read: at most 280, which hold the headers up to TCP's or UDP's in nearly all frames. */
  readonly readable: number;
  /** Returns the byte at `at`, an offset from the Ethernet header. @throws RangeError unless it is below `readable`. */
  u8(at: number): number;
  /** Returns two bytes in network order (big-endian). @throws RangeError unless both are readable. */
  u16(at: number): number;
  /**
   * Returns four bytes in network order (big-endian), 0 to 2^32 - 1. A number from 2^31 on may need 16 bytes of V8's memory, in a filter that is
   * so long that V8 does not inline all its reads; `i32` never does. @throws RangeError unless all are readable.
   */
  u32(at: number): number;
  /** As `u32`, with a sign: `u32(at) | 0`. */
  i32(at: number): number;
}

/**
 * The cheap form of a hook: it reads headers, and passes or drops the frame. Filters run inline, in order of registration, on each batch before
 * its hooks, which see only frames that passed. Errors are those of a FrameHook: a filter that throws, or returns anything but 'pass' or 'drop',
 * drops the frame. So a read beyond `readable`, which throws, drops the frame unless the filter catches the error.
 */
export type FrameFilter = (frame: FrameHeaders, direction: Direction) => 'pass' | 'drop';

/** A FrameFilter for all vifs; see VifHook. */
export type VifFilter = (frame: FrameHeaders, direction: Direction, vif: VifInfo) => ReturnType<FrameFilter>;

/** Which frames `Vif.frames()` copies, and for how long. */
export interface FramesOptions {
  /** Default: both directions. */
  readonly direction?: Direction;
  /** A signal whose abort ends the stream, after the copies that wait. */
  readonly signal?: AbortSignal;
  /** How many copies may wait to be read: 1 to 65536, default 1024. Each takes as many bytes as its frame, up to 64 KiB. */
  readonly limit?: number;
}

/** A copy of a frame that has passed all filters and the hooks that were added before the stream. */
export interface CapturedFrame extends Frame {
  /** Who has sent it. */
  readonly direction: Direction;
  /**
   * When it was copied: monotonic ms, by `clock` of the netback's `xen`, whose zero is not that of `performance`. docs/api.md (`Vif.frames`) shows
   * how to get the time of day.
   */
  readonly timeMs: number;
}

/**
 * The result of `Vif.frames()`. It ends when the vif is gone, when the netback is disposed of, with its signal, and with `for await`. It
 * continues when the guest closes and connects again. Calls of `next` may overlap, and get frames in their order. Disposal ends it as
 * `return` does, and drops the copies that wait.
 */
export interface FrameStream extends AsyncIterableIterator<CapturedFrame>, AsyncDisposable {
  /** How many frames were not copied because `limit` copies waited already. */
  readonly missed: number;
}
