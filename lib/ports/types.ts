import type { VifdError } from '../errors.js';
import type { Arena, GrantBatch } from '../xen/types.js';

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

/** `struct virtio_net_hdr_v1` (linux/virtio_net.h): flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers. */
export const VNET_HEADER_BYTES = 12;
export const VNET_FLAG_NEEDS_CSUM = 1;
export const VNET_FLAG_DATA_VALID = 2;
export const VNET_GSO_NONE = 0;
export const VNET_GSO_TCPV4 = 1;
export const VNET_GSO_TCPV6 = 4;
/**
 * UDP in datagrams of gso_size bytes of payload. netif has no such kind, and vifd's own ports do not offer it; the backend segments such
 * frames of a port of your own.
 */
export const VNET_GSO_UDP_L4 = 5;
/** Added to one of TCP's: the first segment has CWR (RFC 3168), and no other may have it. */
export const VNET_GSO_ECN = 0x80;

/** Longest frame that crosses: a GSO frame is an Ethernet header, at most one VLAN tag, and a 64 KiB datagram. */
export const FRAME_BYTES_MAX = 65535 + 18;

/**
 * Layout of FrameBatch.block: header words, then FRAME_WORDS each. native/layout.h has the same figures.
 */
export const FRAMES_COUNT = 0;
/** Reading: where in the arena frames may be put, bytes, [start, end). */
export const FRAMES_START = 1;
export const FRAMES_END = 2;
/** Reading: a frame is put at a multiple of `align`, plus `phase`; its header lies in front. align is a power of two. */
export const FRAMES_ALIGN = 3;
export const FRAMES_PHASE = 4;
/** Out, reading: 1 when frames may still wait (space or capacity ended the batch). */
export const FRAMES_MORE = 5;
/** Out: errno that ended the batch, or of a frame that has one as its status; 0 when there is none. Reading, EAGAIN is no error. */
export const FRAMES_ERRNO = 6;
export const FRAMES_HEADER_WORDS = 8;

export const FRAME_WORDS = 5;
/** Offset in the arena of the frame's first byte; its vnet header lies in the VNET_HEADER_BYTES before. At a multiple of 2. */
export const FRAME_OFFSET = 0;
export const FRAME_LENGTH = 1;
/** Writing out of a mapped GrantBatch: first operation that holds the frame's bytes. */
export const FRAME_FIRST_OP = 2;
/**
 * Operations of the frame; 0: all bytes are in the arena. Otherwise OP_HEAD of each operation is how many of its bytes are there. They
 * lie from FRAME_OFFSET on, one operation's behind the other's, up to the first operation with fewer bytes than its span. All other
 * bytes of the frame are in the mapped pages alone.
 */
export const FRAME_OP_COUNT = 3;
/** Out: 0, or the errno of this frame. */
export const FRAME_STATUS = 4;

/** A batch of frames as structure of arrays; shared with native code, so that a batch crosses in one call. */
export class FrameBatch {
  readonly capacity: number;
  readonly arena: Arena;
  readonly block: Uint32Array;

  /** @param block `FrameBatch.words(capacity)` of them; default: memory of its own. */
  constructor(
    arena: Arena,
    capacity: number,
    block: Uint32Array = new Uint32Array(FrameBatch.words(capacity)),
  ) {
    this.arena = arena;
    this.capacity = capacity;
    this.block = block;
    this.block[FRAMES_ALIGN] = 64;
    this.block[FRAMES_PHASE] = 16;
  }

  static words(capacity: number): number {
    return FRAMES_HEADER_WORDS + capacity * FRAME_WORDS;
  }

  get count(): number {
    return this.block[FRAMES_COUNT];
  }

  set count(frames: number) {
    this.block[FRAMES_COUNT] = frames;
  }
}

/** First word of frame `index` in a FrameBatch's block. */
export function frameAt(index: number): number {
  return FRAMES_HEADER_WORDS + index * FRAME_WORDS;
}
