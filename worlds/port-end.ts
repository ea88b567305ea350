import { FRAMES_END, FRAMES_START, FrameBatch } from '../lib/ports/frame-batch.js';
import type { Port, PortIo, PortOptions } from '../lib/ports/port.js';
import { completeChecksum, locateChecksum, writePseudoChecksum } from '../lib/protocol/checksum.js';
import { VNET_FLAG_NEEDS_CSUM, VNET_GSO_TCPV4, VNET_HEADER_BYTES } from '../lib/protocol/vnet.js';
import {
  addFrame,
  frameIn,
  frameStatus,
  headerIn,
  setFrameStatus,
} from '../lib/testing/netfront/batch-frames.js';
import type { Arena } from '../lib/xen/seam.js';

/** One end of a port with batches, as a backend has it. */
export interface End {
  readonly io: PortIo;
  readonly writes: FrameBatch;
  readonly reads: FrameBatch;
  /** How often the port reported that frames wait. */
  wakeUps: number;
}

export const EVERYTHING = { checksumV4: true, checksumV6: true, gsoV4: true, gsoV6: true } as const;
export const NOTHING = { checksumV4: false, checksumV6: false, gsoV4: false, gsoV6: false } as const;

export function openEnd(
  port: Port,
  arena: (bytes: number) => Arena,
  offloads: Omit<PortOptions, 'onReadable'> = EVERYTHING,
): End {
  const writes = new FrameBatch(arena(1 << 20), 256);
  const reads = new FrameBatch(arena(1 << 20), 256);
  reads.block[FRAMES_START] = 0;
  reads.block[FRAMES_END] = 1 << 20;
  const end: End = {
    writes,
    reads,
    wakeUps: 0,
    io: port.open({ writes, reads }, { ...offloads, onReadable: () => end.wakeUps++ }),
  };
  port.setCarrier?.(true);
  return end;
}

export interface Sent {
  readonly frame: Uint8Array;
  readonly header?: Uint8Array;
}

/** Puts frames into the batch. @returns how many `write` handled. */
export function send(end: End, frames: readonly Sent[]): number {
  end.writes.count = 0;
  frames.forEach(({ frame, header }, index) => {
    if (!addFrame(end.writes, frame, header)) throw new Error(`the batch has no room for frame ${index}`);
    setFrameStatus(end.writes, index, 0xdead);
  });
  return end.io.write();
}

export function statusOf(end: End, index: number): number {
  return frameStatus(end.writes, index);
}

export interface Received {
  readonly frame: Uint8Array;
  readonly header: Uint8Array;
  /** Returns the frame's offset in the arena. */
  readonly offset: number;
}

export function receive({ io, reads }: End): Received[] {
  return Array.from({ length: io.read() }, (_, index) => {
    const frame = frameIn(reads, index);
    const offset = frame.byteOffset - reads.arena.bytes.byteOffset;
    return { offset, frame: frame.slice(), header: headerIn(reads, index).slice() };
  });
}

/** Returns an Ethernet frame of the EtherType for experiments (0x88b5), to which no network stack responds. */
export function plainFrame(bytes: number, seed: number): Uint8Array {
  const frame = new Uint8Array(bytes).map((_, i) => (seed + i) & 0xff);
  frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 1, 0x88, 0xb5]);
  return frame;
}

const TCP_HEADERS = 14 + 20 + 20;

/** TCP over IPv4 with a partial checksum. */
export function tcpFrame(payload: number, seed: number): Uint8Array {
  const frame = new Uint8Array(TCP_HEADERS + payload);
  const view = new DataView(frame.buffer);
  frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00]);
  frame.set([0x45, 0], 14);
  view.setUint16(16, 40 + payload);
  view.setUint16(18, 0x1234);
  frame.set([0x40, 0, 64, 6, 0, 0, 10, 9, 8, 1, 10, 9, 8, 2], 20);
  completeChecksum(frame, 0, 34, 14, 10);
  view.setUint16(34, 1000);
  view.setUint16(36, 2000);
  view.setUint32(38, 0xffff_ff00);
  frame.set([0x50, 0x18], 46);
  for (let i = 0; i < payload; i++) frame[TCP_HEADERS + i] = (seed + i * 7) & 0xff;
  writePseudoChecksum(frame, 0, locateChecksum(frame, 0, frame.length), frame.length);
  return frame;
}

/** The virtio_net_hdr of `tcpFrame`, for segments of `gsoBytes`; 0 for a frame that is a segment already. */
export function tcpHeader(gsoBytes: number): Uint8Array {
  const header = new Uint8Array(VNET_HEADER_BYTES);
  const view = new DataView(header.buffer);
  header[0] = VNET_FLAG_NEEDS_CSUM;
  header[1] = gsoBytes > 0 ? VNET_GSO_TCPV4 : 0;
  view.setUint16(2, TCP_HEADERS, true);
  view.setUint16(4, gsoBytes, true);
  view.setUint16(6, 34, true);
  view.setUint16(8, 16, true);
  return header;
}

/** Whether the TCP checksum matches the frame's bytes. */
export function tcpChecksumHolds(frame: Uint8Array): boolean {
  const copy = frame.slice();
  writePseudoChecksum(copy, 0, locateChecksum(copy, 0, copy.length), copy.length);
  completeChecksum(copy, 0, copy.length, 34, 16);
  return copy[50] === frame[50] && copy[51] === frame[51];
}
