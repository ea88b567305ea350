import type { VifdError } from '../errors.js';
import type { GrantBatch } from '../xen/seam.js';
import type { FrameBatch } from './frame-batch.js';

/**
 * Where frames go on the host's side. Batch in, batch out; nothing on the data path is asynchronous.
 * Frames lie in the batch's arena, each behind a virtio_net_hdr of VNET_HEADER_BYTES.
 */
export interface Port extends AsyncDisposable {
  readonly name: string;
  /** True when `write` can send bytes straight from a mapped GrantBatch (FRAME_OP_COUNT > 0). */
  readonly writesMapped: boolean;
  /** How many queues it can have at once; left out: one. */
  readonly queuesMax?: number;
  /** Frames that the host's side sent and that were dropped before they could be read, since the port was made; left out: none are. */
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
   * Calls `listener` with what stands between the port and its network when that begins or changes, and with undefined when
   * all is well again; at once if something is wrong already. Absent: nothing ever is.
   */
  follow?(listener: (trouble: PortTrouble | undefined) => void): Disposable;
  /**
   * Takes away what would outlive the process (a persistent tap): the vif is gone for good.
   * Disposal alone leaves it for the next life.
   */
  remove?(): Promise<void>;
}

/** What keeps a port from passing frames, as an administrator reads it. */
export interface PortTrouble {
  readonly error: VifdError;
  /** The port is of no use any more: it has to be opened anew. */
  readonly lost: boolean;
}

export interface PortBatches {
  /** Frames that `PortIo.write` sends into the port. */
  readonly writes: FrameBatch;
  /** Frames that `PortIo.read` takes out of the port. */
  readonly reads: FrameBatch;
  /** Where frames of `writes` with FRAME_OP_COUNT > 0 have the bytes that are not in the arena. */
  readonly mapped?: GrantBatch;
}

/** What the reader of the port can take: without them the host's side checksums and segments before we read. */
export interface PortOptions {
  readonly checksumV4: boolean;
  readonly checksumV6: boolean;
  readonly gsoV4: boolean;
  readonly gsoV6: boolean;
  /** The reader is that of an earlier process, so the host's offloads stay as they are. */
  readonly resumed?: boolean;
  /** Left out: the only one. */
  readonly queue?: QueuePlace;
  /** The port calls this when frames wait and `wantReadable` was called. */
  onReadable(): void;
}

/** One of the queues that a port is used with, opened in order of `index`. The port has no others from then on. */
export interface QueuePlace {
  readonly index: number;
  readonly count: number;
}

export interface PortIo {
  /**
   * Sends `writes.count` frames; a frame of length 0 is passed over. A frame without a receiver (a pair's other end has no
   * guest) gets the status ENOTCONN: the backend counts it as dropped, and reports no fault.
   * @returns how many were dealt with: fewer when the host's side is full. Each has its `status`.
   */
  write(): number;
  /** Reads frames into `reads` until its space, its capacity or the frames end. @returns how many. */
  read(): number;
  /** One call of `onReadable` when frames wait. Not calling it again stops the port: back-pressure. */
  wantReadable(): void;
  close(): void;
}
