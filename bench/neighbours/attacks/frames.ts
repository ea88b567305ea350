import {
  EXTRA_TYPE_GSO,
  FRAME_BYTES_MIN,
  GSO_TYPE_TCPV4,
  TX_FLAG_CSUM_BLANK,
  TX_FLAG_EXTRA_INFO,
  TX_FLAG_MORE_DATA,
  TX_RING_SIZE,
} from '../../../lib/protocol/netif.js';
import type { HostileGuest, HostileQueue, HostileRing } from '../hostile-guest.js';
import { BROADCAST, SINK_MAC } from '../plan.js';
import type { Attack, Strike } from './attack.js';

const FRAME_BYTES = 60;
/** A frame of 60000 bytes, in 16 slots and one for the extra info with its segment size. */
const GSO_BYTES = 60_000;
const GSO_SLOTS = 17;
const GSO_SLOT_BYTES = 3750;
const GSO_SEGMENT_BYTES = 100;
/** Ethernet, IPv4 and TCP from 10.77.0.8 to an address behind the uplink; what follows is payload. */
const HEADERS = [
  ...[0, 0x16, 0x3e, 0, 0, 8, 0x08, 0],
  ...[
    0x45,
    0,
    (GSO_BYTES - 14) >> 8,
    (GSO_BYTES - 14) & 0xff,
    0,
    0,
    0,
    0,
    64,
    6,
    0,
    0,
    10,
    77,
    0,
    8,
    10,
    99,
    0,
    9,
  ],
  ...[0, 9, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0],
];

/** Writes what every frame begins with into the guest's first page. */
export function layOut(guest: HostileGuest, targetMac: readonly number[]): void {
  guest.bytes(0).set([...targetMac, ...HEADERS]);
}

/** How one frame is put into a ring. */
export interface FrameKind {
  readonly slots: number;
  /** Writes its requests from `index` on. */
  put(guest: HostileGuest, ring: HostileRing, index: number): void;
}

/** Fills a queue's ring with frames, and publishes them. @returns how many. */
export function fill(guest: HostileGuest, { tx }: HostileQueue, { slots, put }: FrameKind): number {
  const frames = Math.floor(tx.free / slots);
  const first = tx.produced;
  for (let frame = 0; frame < frames; frame++) put(guest, tx, first + frame * slots);
  if (frames > 0) tx.publish(first + frames * slots);
  return frames;
}

/** Keeps every ring full, and polls for responses. */
function flood(guest: HostileGuest, targetMac: readonly number[], kind: FrameKind): Strike {
  layOut(guest, targetMac);
  return () => {
    let frames = 0;
    for (const queue of guest.queues) {
      const filled = fill(guest, queue, kind);
      frames += filled;
      if (filled > 0) queue.channel.notify();
    }
    return frames;
  };
}

export const PLAIN_FRAME: FrameKind = {
  slots: 1,
  put: (guest, tx, index) => tx.put(index, guest.ref(0), 0, idOf(index) | (FRAME_BYTES << 16)),
};

/** Shorter than an Ethernet header: vifd responds with an error. */
const TOO_SHORT: FrameKind = {
  slots: 1,
  put: (guest, tx, index) => tx.put(index, guest.ref(0), 0, idOf(index) | ((FRAME_BYTES_MIN - 1) << 16)),
};

/** As many slots as a frame can have, and nearly as many bytes. */
const SEGMENTED: FrameKind = {
  slots: GSO_SLOTS,
  put: (guest, tx, index) => {
    const first = TX_FLAG_MORE_DATA | TX_FLAG_EXTRA_INFO | TX_FLAG_CSUM_BLANK;
    tx.put(index, guest.ref(0), first << 16, idOf(index) | (GSO_BYTES << 16));
    tx.put(index + 1, EXTRA_TYPE_GSO | (GSO_SEGMENT_BYTES << 16), GSO_TYPE_TCPV4, 0);
    for (let slot = 2; slot < GSO_SLOTS; slot++) {
      const flags = slot < GSO_SLOTS - 1 ? TX_FLAG_MORE_DATA : 0;
      tx.put(index + slot, guest.ref(slot), flags << 16, idOf(index + slot) | (GSO_SLOT_BYTES << 16));
    }
  },
};

function idOf(index: number): number {
  return index & (TX_RING_SIZE - 1);
}

/** What a guest can send. */
export const FRAME_ATTACKS: readonly Attack[] = [
  {
    name: 'tx',
    does: 'sends frames of 60 bytes on all queues',
    counts: 'frames',
    begin: (guest) => flood(guest, SINK_MAC, PLAIN_FRAME),
  },
  {
    name: 'tx1',
    does: 'sends frames of 60 bytes on one queue',
    counts: 'frames',
    queues: 1,
    begin: (guest) => flood(guest, SINK_MAC, PLAIN_FRAME),
  },
  {
    name: 'txall',
    does: 'sends frames of 60 bytes to all on its bridge',
    counts: 'frames',
    begin: (guest) => flood(guest, BROADCAST, PLAIN_FRAME),
  },
  {
    name: 'txgso',
    does: 'sends frames of 60000 bytes to be segmented',
    counts: 'frames',
    begin: (guest) => flood(guest, SINK_MAC, SEGMENTED),
  },
  {
    name: 'txerr',
    does: 'sends frames that are too short',
    counts: 'frames',
    begin: (guest) => flood(guest, SINK_MAC, TOO_SHORT),
  },
];
