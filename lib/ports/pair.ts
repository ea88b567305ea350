import { VifdError } from '../errors.js';
import { completeChecksum } from '../protocol/checksum.js';
import { Segments } from '../protocol/segment.js';
import {
  VNET_FLAG_DATA_VALID,
  VNET_FLAG_NEEDS_CSUM,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_HEADER_BYTES,
  vnetCsumOffset,
  vnetCsumStart,
  vnetGsoBytes,
  vnetGsoKind,
  vnetWordOfBytes,
  writeVnetBytes,
} from '../protocol/vnet.js';
import {
  FRAME_BYTES_MAX,
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_OP_COUNT,
  FRAME_STATUS,
  FRAMES_ERRNO,
  type FrameBatch,
  frameAt,
} from './frame-batch.js';
import type { Port, PortBatches, PortIo, PortOptions } from './port.js';
import { FrameQueue, fillFrom } from './queue.js';

/** The most bytes that wait between the two ends: about as many as a tap's own queue of full-sized frames has. */
const QUEUE_BYTES = 1 << 20;

// errno-base.h, errno.h
const EINVAL = 22;
const EMSGSIZE = 90;
const ENOTCONN = 107;

/**
 * Two ports in this process: frames that are written into one are read from the other. The pair copies frames with their virtio_net_hdr; it
 * completes the checksum of a frame, or cuts it into segments, if the reader cannot take it as it is. The pair drops frames to an end that is
 * not open or whose link is down; the sender gets the status ENOTCONN and counts them. An end's link is up until `setCarrier(false)`.
 */
export function pair(): [Port, Port] {
  const first = new PairPort('pair:a');
  const second = new PairPort('pair:b');
  first.peer = second;
  second.peer = first;
  return [first, second];
}

class PairPort implements Port {
  readonly name: string;
  readonly writesMapped = false;
  peer!: PairPort;
  /** The reader at this end. */
  io: PairIo | undefined;
  /** The end takes frames from the other end. */
  linkUp = true;
  #closed = false;

  constructor(name: string) {
    this.name = name;
  }

  setCarrier(on: boolean): boolean {
    this.linkUp = on;
    return true;
  }

  open(batches: PortBatches, options: PortOptions): PortIo {
    if (this.#closed) throw new VifdError('ERR_STATE', `Port ${this.name} was closed.`);
    if (this.io !== undefined) {
      throw new VifdError('ERR_STATE', `Port ${this.name} is in use: close its PortIo first.`);
    }
    this.io = new PairIo(this, batches, options);
    return this.io;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.io?.close();
  }
}

class PairIo implements PortIo {
  readonly #port: PairPort;
  readonly #writes: FrameBatch;
  readonly #reads: FrameBatch;
  readonly #options: PortOptions;
  readonly #queue = new FrameQueue(QUEUE_BYTES);
  readonly #segments = new Segments();
  #wanted = false;

  constructor(port: PairPort, batches: PortBatches, options: PortOptions) {
    this.#port = port;
    this.#writes = batches.writes;
    this.#reads = batches.reads;
    this.#options = options;
  }

  write(): number {
    const { block, capacity } = this.#writes;
    const count = Math.min(this.#writes.count, capacity);
    block[FRAMES_ERRNO] = 0;
    let done = 0;
    for (; done < count; done++) {
      const at = frameAt(done);
      const status = block[at + FRAME_LENGTH] === 0 ? 0 : this.#send(at);
      if (status === FULL) break;
      block[at + FRAME_STATUS] = status;
      if (status !== 0) block[FRAMES_ERRNO] = status;
    }
    return done;
  }

  read(): number {
    return fillFrom(this.#queue, this.#reads);
  }

  wantReadable(): void {
    this.#wanted = true;
    if (!this.#queue.empty) this.#wake();
  }

  close(): void {
    if (this.#port.io !== this) return;
    this.#port.io = undefined;
    this.#queue.clear();
  }

  /** @returns 0, an errno, or FULL. */
  #send(at: number): number {
    const block = this.#writes.block;
    const bytes = this.#writes.arena.bytes;
    const offset = block[at + FRAME_OFFSET];
    const end = offset + block[at + FRAME_LENGTH];
    const inside = offset >= VNET_HEADER_BYTES && end <= bytes.length && end - offset <= FRAME_BYTES_MAX;
    if (!inside || block[at + FRAME_OP_COUNT] !== 0) return EINVAL;
    const { io: reader, linkUp } = this.#port.peer;
    if (reader === undefined || !linkUp) return ENOTCONN;
    return reader.#take(bytes.subarray(offset - VNET_HEADER_BYTES, end));
  }

  /** Queues a record, vnet header and frame, in a form that this end's reader can take. */
  #take(record: Uint8Array): number {
    const first = vnetWordOfBytes(record, 0, 0);
    const kind = vnetGsoKind(first);
    const v4 = kind === VNET_GSO_NONE ? isIpv4(record) : kind === VNET_GSO_TCPV4;
    const checksum = v4 ? this.#options.checksumV4 : this.#options.checksumV6;
    const gso = v4 ? this.#options.gsoV4 : this.#options.gsoV6;
    if (kind !== VNET_GSO_NONE && !(gso && checksum)) return this.#takeSegments(record);
    if (!this.#queue.hasRoom(record.length, 1)) return FULL;
    const copy = this.#queue.reserve(record.length);
    copy.set(record);
    if ((first & VNET_FLAG_NEEDS_CSUM) !== 0 && !checksum) {
      const csumStart = vnetCsumStart(vnetWordOfBytes(record, 0, 1));
      const csumOffset = vnetCsumOffset(vnetWordOfBytes(record, 0, 2));
      completeChecksum(copy, VNET_HEADER_BYTES, record.length - VNET_HEADER_BYTES, csumStart, csumOffset);
      plainHeader(copy);
    }
    this.#queue.commit(record.length);
    this.#wake();
    return 0;
  }

  #takeSegments(record: Uint8Array): number {
    const plan = this.#segments;
    const frameBytes = record.length - VNET_HEADER_BYTES;
    const isPartial = (vnetWordOfBytes(record, 0, 0) & VNET_FLAG_NEEDS_CSUM) !== 0;
    const second = vnetWordOfBytes(record, 0, 1);
    const csumStart = isPartial ? vnetCsumStart(second) : 0;
    const csumOffset = isPartial ? vnetCsumOffset(vnetWordOfBytes(record, 0, 2)) : 0;
    if (!plan.plan(record, VNET_HEADER_BYTES, frameBytes, csumStart, csumOffset, vnetGsoBytes(second)))
      return EINVAL;
    // A segment size of a few bytes makes a 64 KiB frame megabytes long: the guest chose it, so it is refused.
    const total = plan.totalBytes + plan.count * VNET_HEADER_BYTES;
    if (total > this.#queue.capacity / 2) return EMSGSIZE;
    if (!this.#queue.hasRoom(total, plan.count)) return FULL;
    for (let index = 0; index < plan.count; index++) {
      const copy = this.#queue.reserve(VNET_HEADER_BYTES + plan.bytesOf(index));
      const length = plan.write(record, index, copy, VNET_HEADER_BYTES);
      plainHeader(copy);
      this.#queue.commit(VNET_HEADER_BYTES + length);
    }
    this.#wake();
    return 0;
  }

  /** In a microtask: never within the other end's `write`, and in an order that does not depend on timers. */
  #wake(): void {
    if (!this.#wanted) return;
    this.#wanted = false;
    queueMicrotask(() => {
      if (this.#port.io === this) this.#options.onReadable();
    });
  }
}

/** Not an errno. */
const FULL = -1;

function plainHeader(record: Uint8Array): void {
  writeVnetBytes(record, 0, VNET_FLAG_DATA_VALID, 0, 0);
}

function isIpv4(record: Uint8Array): boolean {
  const type = VNET_HEADER_BYTES + 12;
  const tagged = record[type] === 0x81 && record[type + 1] === 0;
  const at = tagged ? type + 4 : type;
  return record[at] === 0x08 && record[at + 1] === 0;
}
