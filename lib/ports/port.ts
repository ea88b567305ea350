import type { VifdError } from '../errors.js';
import type { GrantBatch } from '../xen/seam.js';
import type { FrameBatch } from './frame-batch.js';

/**
 * The host's side of a vif, to which and from which frames move in batches. No method on the data path is asynchronous.
 * Frames lie in the batch's arena, each behind a virtio_net_hdr of VNET_HEADER_BYTES.
 */
export interface Port extends AsyncDisposable {
  /** A name for messages and `vifd show`, as the name of a tap. */
  readonly name: string;
  /** True when `write` can send bytes straight from a mapped GrantBatch (FRAME_OP_COUNT > 0). */
  readonly writesMapped: boolean;
  /** How many queues it can have at once; left out: one. */
  readonly queuesMax?: number;
  /** How many frames from the host's side were dropped before they could be read, since the port was made; left out: none are dropped. */
  readonly dropped?: number;
  /**
   * Begins to use the port, or the queue of it that `options.queue` names, with these batches. One user at a time: after
   * `PortIo.close` it may be opened again.
   */
  open(batches: PortBatches, options: PortOptions): PortIo;
  /**
   * Takes the link of the host's side up or down: while it is down the host sends nothing to the port. A new port begins with its link
   * down (an end of a `pair`: up); a port that outlived a process has its link as that process left it. The backend takes the link up
   * when it has attached to a guest, and down while none is connected, while the vif is stopped and while the guest takes no frames. It
   * leaves the link alone when it detaches, since the guest stays connected.
   * @returns whether the link changed or was so already; false where the kernel has no way to switch it.
   */
  setCarrier?(on: boolean): boolean;
  /**
   * Calls `listener` with each trouble that separates the port from its network when it begins or changes, and with undefined when the
   * trouble is over; at once if there is one already. Absent if the port never has trouble.
   */
  follow?(listener: (trouble: PortTrouble | undefined) => void): Disposable;
  /**
   * Removes the parts that outlive the process (a persistent tap), because the vif is gone for good.
   * Disposal alone leaves them to the next process.
   */
  remove?(): Promise<void>;
}

/** Why a port passes no frames, for an administrator. */
export interface PortTrouble {
  /** What an administrator can do about it. */
  readonly error: VifdError;
  /** Whether the port is unusable, so that a new one must be opened. */
  readonly lost: boolean;
}

/** The two batches that a user of a port shares with it. */
export interface PortBatches {
  /** Frames that `PortIo.write` sends into the port. */
  readonly writes: FrameBatch;
  /** Frames that `PortIo.read` takes out of the port. */
  readonly reads: FrameBatch;
  /** Where frames of `writes` with FRAME_OP_COUNT > 0 have the bytes that are not in the arena. */
  readonly mapped?: GrantBatch;
}

/**
 * The offloads that the reader of the port can take. Without them the host's side completes checksums and segments frames before they are
 * read.
 */
export interface PortOptions {
  /** Whether the reader takes IPv4 frames whose checksum is not complete. */
  readonly checksumV4: boolean;
  /** Whether the reader takes IPv6 frames whose checksum is not complete. */
  readonly checksumV6: boolean;
  /** Whether the reader takes TCP segments of up to 64 KiB over IPv4; only with `checksumV4`. */
  readonly gsoV4: boolean;
  /** Whether the reader takes TCP segments of up to 64 KiB over IPv6; only with `checksumV6`. */
  readonly gsoV6: boolean;
  /** Whether the reader continues the work of an earlier process, so that the host's offloads stay unchanged. */
  readonly resumed?: boolean;
  /** Left out: the only one. */
  readonly queue?: QueuePlace;
  /** The port calls this when frames wait and `wantReadable` was called. */
  onReadable(): void;
}

/** One of the queues that a port is used with, opened in order of `index`. The port has no others from then on. */
export interface QueuePlace {
  /** Which queue this is; 0 to `count` - 1. */
  readonly index: number;
  /** How many queues are used; at least 1. */
  readonly count: number;
}

/** An open port, or one queue of it, as its user calls it. */
export interface PortIo {
  /**
   * Sends `writes.count` frames; a frame of length 0 is passed over. A frame without a receiver (a pair's other end has no
   * guest) gets the status ENOTCONN: the backend counts it as dropped, and reports no fault.
   * @returns how many frames were handled: fewer if the host's side is full. Each has its `status`.
   */
  write(): number;
  /**
   * Reads frames into `reads` until its space, its capacity or the frames end. It sets FRAME_FIRST_OP, FRAME_OP_COUNT and FRAME_STATUS of each
   * frame to 0, or leaves them as they are: the backend records the state of pending frames there, and the next process reads it.
   * @returns how many.
   */
  read(): number;
  /** One call of `onReadable` when frames wait. Not calling it again stops the port: back-pressure. */
  wantReadable(): void;
  /** Ends the use of the port. Frames that wait stay in it. Idempotent. */
  close(): void;
}
