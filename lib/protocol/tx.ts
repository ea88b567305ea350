import * as netif from './netif.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const {
  EXTRA_FLAG_MORE,
  EXTRA_TYPE_GSO,
  EXTRA_TYPE_MCAST_ADD,
  EXTRA_TYPE_MCAST_DEL,
  EXTRA_TYPE_XDP,
  FRAME_BYTES_MIN,
  FRAME_SLOTS_FATAL,
  FRAME_SLOTS_MAX,
  GSO_TYPE_TCPV4,
  GSO_TYPE_TCPV6,
  RING_PAGE_BYTES,
  RSP_ERROR,
  RSP_NULL,
  RSP_OKAY,
  TX_FLAG_EXTRA_INFO,
  TX_FLAG_MORE_DATA,
  TX_SLOT_WORDS,
} = netif;

/** Why a TX ring cannot be served any more. The frontend broke the protocol; Linux stops the vif for the same. */
export type TxFault =
  | 'extra info is missing'
  | 'extra info of unknown type'
  | 'extra info repeats without end'
  | 'slot crosses a page'
  | 'frame has too many slots'
  | 'frame is incomplete'
  | 'GSO segment size is zero'
  | 'GSO type is unknown';

/** A frontend has at most one of each type of extra info; a longer chain is an attack on our loop. */
const EXTRAS_MAX = EXTRA_TYPE_XDP;

/**
 * Frames found in a run of TX slots: structure of arrays, reused from batch to batch. Frame `i` has the
 * slots [firstSlot[i], firstSlot[i] + slotCount[i]): its first, then extraCount[i] extras, then data.
 */
export class TxFrames {
  readonly capacity: number;
  count = 0;
  /** Slots that belong to whole frames: what may be taken and answered. */
  slots = 0;
  fault: TxFault | undefined;

  readonly firstSlot: Uint16Array;
  readonly slotCount: Uint16Array;
  readonly extraCount: Uint8Array;
  /** Bytes of the frame. */
  readonly size: Uint32Array;
  /** TX_FLAG_* of the first slot. */
  readonly flags: Uint8Array;
  /** GSO_TYPE_*, 0 for none. */
  readonly gsoType: Uint8Array;
  readonly gsoSize: Uint16Array;
  /** RSP_OKAY, or RSP_ERROR for a frame that must be answered but cannot be sent. */
  readonly status: Int8Array;
  /** By slot: bytes of data in it; 0 for extras. (The first slot of the wire says the frame's size instead.) */
  readonly length: Uint16Array;

  /** @param capacity slots, and so frames, that a batch can have. */
  constructor(capacity: number) {
    this.capacity = capacity;
    this.firstSlot = new Uint16Array(capacity);
    this.slotCount = new Uint16Array(capacity);
    this.extraCount = new Uint8Array(capacity);
    this.size = new Uint32Array(capacity);
    this.flags = new Uint8Array(capacity);
    this.gsoType = new Uint8Array(capacity);
    this.gsoSize = new Uint16Array(capacity);
    this.status = new Int8Array(capacity);
    this.length = new Uint16Array(capacity);
  }
}

/** `readFrame` could not find the frame's end in the slots it has. */
const INCOMPLETE = -1;
/** `readFrame` set `fault`. */
const FAULT = -2;

/**
 * Parses private copies of TX requests.
 * @param slots `count` requests of TX_SLOT_WORDS words; `count` <= frames.capacity.
 * @param whole true when the frontend has published nothing beyond: a cut frame is then its fault, and
 *   otherwise ours, to be read with the next batch.
 */
export function parseTx(slots: Uint32Array, count: number, whole: boolean, frames: TxFrames): void {
  frames.count = 0;
  frames.slots = 0;
  frames.fault = undefined;
  while (frames.slots < count) {
    const used = readFrame(slots, frames.slots, count, frames);
    if (used === FAULT) return;
    if (used === INCOMPLETE) {
      // A batch holds many frames of the largest size, so a first frame that does not end is endless.
      if (whole || frames.slots === 0) frames.fault = 'frame is incomplete';
      return;
    }
    frames.count++;
    frames.slots += used;
  }
}

/** Reads the frame that begins at slot `first` into place `frames.count`. @returns its slots, or INCOMPLETE, FAULT. */
function readFrame(slots: Uint32Array, first: number, count: number, frames: TxFrames): number {
  const index = frames.count;
  const at = first * TX_SLOT_WORDS;
  const span = slots[at + 1];
  const flags = span >>> 16;
  const size = slots[at + 2] >>> 16;
  frames.firstSlot[index] = first;
  frames.size[index] = size;
  frames.flags[index] = flags;
  frames.gsoType[index] = 0;
  frames.extraCount[index] = 0;
  frames.status[index] = size < FRAME_BYTES_MIN ? RSP_ERROR : RSP_OKAY;
  let used = 1;
  if ((flags & TX_FLAG_EXTRA_INFO) !== 0) {
    const extras = readExtras(slots, first + 1, count, frames);
    if (extras < 0) return extras;
    used += extras;
  }
  let own = size;
  if ((flags & TX_FLAG_MORE_DATA) !== 0) {
    const more = readFragments(slots, first, first + used, count, frames);
    if (more < 0) return more;
    used += more;
    own = frames.length[first];
  } else {
    frames.length[first] = size;
  }
  if ((span & 0xffff) + own > RING_PAGE_BYTES) return stop(frames, 'slot crosses a page');
  frames.slotCount[index] = used;
  return used;
}

/** Reads the slots after the first; leaves the first slot's own share of the frame's size in `frames.length`. */
function readFragments(
  slots: Uint32Array,
  first: number,
  from: number,
  count: number,
  frames: TxFrames,
): number {
  let left = frames.size[frames.count];
  let used = 0;
  let flags = TX_FLAG_MORE_DATA;
  let valid = true;
  while ((flags & TX_FLAG_MORE_DATA) !== 0) {
    const slot = from + used;
    // One slot is the first.
    if (used + 1 >= FRAME_SLOTS_FATAL) return stop(frames, 'frame has too many slots');
    if (slot >= count) return INCOMPLETE;
    const at = slot * TX_SLOT_WORDS;
    const span = slots[at + 1];
    const size = slots[at + 2] >>> 16;
    flags = span >>> 16;
    if ((span & 0xffff) + size > RING_PAGE_BYTES) return stop(frames, 'slot crosses a page');
    if (size > left) valid = false;
    else left -= size;
    frames.length[slot] = size;
    used++;
  }
  if (!valid || used + 1 > FRAME_SLOTS_MAX) {
    frames.status[frames.count] = RSP_ERROR;
    // Nothing of it is used; an honest first share cannot be told.
    left = 0;
  }
  frames.length[first] = left;
  return used;
}

/** Reads the chain of extras that begins at `from`. @returns how many, or INCOMPLETE, FAULT. */
function readExtras(slots: Uint32Array, from: number, count: number, frames: TxFrames): number {
  const index = frames.count;
  let used = 0;
  let more = true;
  while (more) {
    const slot = from + used;
    if (used >= EXTRAS_MAX) return stop(frames, 'extra info repeats without end');
    if (slot >= count) return INCOMPLETE;
    const head = slots[slot * TX_SLOT_WORDS];
    const type = head & 0xff;
    more = ((head >>> 8) & EXTRA_FLAG_MORE) !== 0;
    frames.length[slot] = 0;
    used++;
    if (type === EXTRA_TYPE_GSO) {
      const kind = slots[slot * TX_SLOT_WORDS + 1] & 0xff;
      if (head >>> 16 === 0) return stop(frames, 'GSO segment size is zero');
      if (kind !== GSO_TYPE_TCPV4 && kind !== GSO_TYPE_TCPV6) return stop(frames, 'GSO type is unknown');
      frames.gsoType[index] = kind;
      frames.gsoSize[index] = head >>> 16;
    } else if (type === EXTRA_TYPE_MCAST_ADD || type === EXTRA_TYPE_MCAST_DEL) {
      // Multicast control is not advertised: the request is answered with an error and carries no frame.
      frames.status[index] = RSP_ERROR;
    } else if (type === 0 || type > EXTRA_TYPE_XDP) {
      return stop(frames, 'extra info of unknown type');
    }
  }
  frames.extraCount[index] = used;
  return used;
}

function stop(frames: TxFrames, fault: TxFault): number {
  frames.fault = fault;
  return FAULT;
}

/**
 * Writes the responses to all slots of frame `index`, one word each: extras get RSP_NULL, the others the
 * frame's status and their own id. An extra's slot has no id (its bytes are older than the request).
 * @param responses response to slot i of the batch at word i.
 */
export function answerTx(slots: Uint32Array, frames: TxFrames, index: number, responses: Uint32Array): void {
  const first = frames.firstSlot[index];
  const end = first + frames.slotCount[index];
  const data = first + 1 + frames.extraCount[index];
  const status = (frames.status[index] & 0xffff) << 16;
  responses[first] = (slots[first * TX_SLOT_WORDS + 2] & 0xffff) | status;
  for (let slot = first + 1; slot < data; slot++) responses[slot] = RSP_NULL << 16;
  for (let slot = data; slot < end; slot++) {
    responses[slot] = (slots[slot * TX_SLOT_WORDS + 2] & 0xffff) | status;
  }
}
