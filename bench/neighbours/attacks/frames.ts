import {
  EXTRA_TYPE_GSO,
  FRAME_BYTES_MIN,
  GSO_TYPE_TCPV4,
  TX_FLAG_CSUM_BLANK,
  TX_FLAG_EXTRA_INFO,
  TX_FLAG_MORE_DATA,
} from '../../../lib/protocol/netif.js';
import type { HostileGuest, HostileQueue } from '../hostile-guest.js';
import { BROADCAST, SINK_MAC } from '../plan.js';
import type { Attack, Strike } from './attack.js';

const FRAME_BYTES = 60;
/** One of many slots: of 60000 bytes, in 16 slots and one of the extra that says how to segment it. */
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

/** Writes one frame at `index` of the ring. @returns how many slots it took. */
type Put = (guest: HostileGuest, queue: HostileQueue, index: number) => number;

/** Keeps every ring full of frames, and looks for responses without waiting for events. */
function flood(guest: HostileGuest, targetMac: readonly number[], slots: number, put: Put): Strike {
  guest.bytes(0).set([...targetMac, ...HEADERS]);
  return () => {
    let frames = 0;
    for (const queue of guest.queues) {
      const { tx, channel } = queue;
      let index = tx.produced;
      for (let free = tx.free; free >= slots; free -= slots) {
        index += put(guest, queue, index);
        frames += 1;
      }
      if (index >>> 0 === tx.produced) continue;
      tx.publish(index);
      channel.notify();
    }
    return frames;
  };
}

const plain: Put = (guest, { tx }, index) => {
  tx.put(index, guest.ref(0), 0, (index & 0xff) | (FRAME_BYTES << 16));
  return 1;
};

/** Shorter than an Ethernet header: answered with an error. */
const tooShort: Put = (guest, { tx }, index) => {
  tx.put(index, guest.ref(0), 0, (index & 0xff) | ((FRAME_BYTES_MIN - 1) << 16));
  return 1;
};

/** As many slots as a frame can have, and nearly as many bytes. */
const segmented: Put = (guest, { tx }, index) => {
  const first = TX_FLAG_MORE_DATA | TX_FLAG_EXTRA_INFO | TX_FLAG_CSUM_BLANK;
  tx.put(index, guest.ref(0), first << 16, (index & 0xff) | (GSO_BYTES << 16));
  tx.put(index + 1, EXTRA_TYPE_GSO | (GSO_SEGMENT_BYTES << 16), GSO_TYPE_TCPV4, 0);
  for (let slot = 2; slot < GSO_SLOTS; slot++) {
    const flags = slot < GSO_SLOTS - 1 ? TX_FLAG_MORE_DATA : 0;
    tx.put(index + slot, guest.ref(slot), flags << 16, ((index + slot) & 0xff) | (GSO_SLOT_BYTES << 16));
  }
  return GSO_SLOTS;
};

/** What a guest can send. */
export const FRAME_ATTACKS: readonly Attack[] = [
  {
    name: 'tx',
    does: 'sends frames of 60 bytes on all queues',
    counts: 'frames',
    begin: (guest) => flood(guest, SINK_MAC, 1, plain),
  },
  {
    name: 'tx1',
    does: 'sends frames of 60 bytes on one queue',
    counts: 'frames',
    queues: 1,
    begin: (guest) => flood(guest, SINK_MAC, 1, plain),
  },
  {
    name: 'txall',
    does: 'sends frames of 60 bytes to all on its bridge',
    counts: 'frames',
    begin: (guest) => flood(guest, BROADCAST, 1, plain),
  },
  {
    name: 'txgso',
    does: 'sends frames of 60000 bytes to be segmented',
    counts: 'frames',
    begin: (guest) => flood(guest, SINK_MAC, GSO_SLOTS, segmented),
  },
  {
    name: 'txerr',
    does: 'sends frames that are too short',
    counts: 'frames',
    begin: (guest) => flood(guest, SINK_MAC, 1, tooShort),
  },
];
