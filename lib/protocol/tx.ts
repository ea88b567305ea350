import { HASH_ALGORITHM_TOEPLITZ, HASH_TYPES } from './control.js';
import * as netif from './netif.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const {
  EXTRA_FLAG_MORE,
  EXTRA_TYPE_GSO,
  EXTRA_TYPE_HASH,
  EXTRA_TYPE_MCAST_ADD,
  EXTRA_TYPE_MCAST_DEL,
  EXTRA_TYPE_XDP,
  FRAME_BYTES_MIN,
  FRAME_SLOTS_FATAL,
  FRAME_SLOTS_SENT_MAX,
  GSO_TYPE_TCPV4,
  GSO_TYPE_TCPV6,
  RING_PAGE_BYTES,
  RSP_ERROR,
  RSP_NULL,
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

// Words of a frame in TxFrames: [first slot u8, slots u8, extras u8, slots with bytes u7, refused u1] [size u16, flags u16]
// [GSO type u16, GSO size u16]. Packed, since each load of a typed array costs as much as ten such shifts.
const PLACE = 0;
const BYTES = 1;
const GSO = 2;
const FRAME_WORDS = 3;
const REFUSED = 1 << 31;

/** The role of a slot of a whole frame: no data to fetch (extra info, empty, or of a refused frame), or data. */
export const ROLE_NONE = 0;
export const ROLE_DATA = 1;
/** The first slot of a frame; it holds data, or its share of the frame is empty. */
export const ROLE_FIRST = 2;
/** The first slot of a frame that is refused. */
export const ROLE_REFUSED = 3;
const [NONE, DATA, FIRST] = [ROLE_NONE, ROLE_DATA, ROLE_FIRST];

/**
 * Frames found in a run of TX slots, reused from batch to batch. A frame has `slotCount` slots from `firstSlot` on:
 * its first, then `extraCount` extras, then data.
 */
export class TxFrames {
  readonly capacity: number;
  count = 0;
  /** How many slots belong to whole frames, so that vifd may take them and respond. */
  slots = 0;
  /** How many frames get an error as their response. */
  refusals = 0;
  fault: TxFault | undefined;
  /** Slots of extra info that change the guest's multicast list; the frames they are in carry nothing else. */
  commands = 0;
  readonly commandSlots: Uint8Array;
  readonly #commandFrames: Uint8Array;
  /**
   * The response for each slot: RSP_NULL for extras; for other slots the frame's status and the slot's own id. (The slot of an
   * extra has no id; the bytes there are older than the request.)
   */
  readonly responses: Uint32Array;
  /** By frame: HASH_TYPE_* of a hash that came with it, or 0, and the hash. The guest chose both, and nothing has checked them. */
  readonly hashTypes: Uint8Array;
  readonly hashValues: Uint32Array;
  /** By slot, ROLE_*. */
  readonly roles: Uint8Array;
  readonly #words: Uint32Array;
  #unusable = false;
  /** Slots after the first that hold bytes, of the frame that `begin` began. */
  #filled = 0;
  /** For `parseTx`: why the last GSO extra of the frame that `begin` began is impossible. */
  gsoFault: TxFault | undefined;

  /**
   * @param capacity slots, and so frames, that a batch can have; at most 256.
   * @param responses at least `capacity` words.
   */
  constructor(capacity: number, responses: Uint32Array = new Uint32Array(capacity)) {
    this.capacity = capacity;
    this.responses = responses;
    this.roles = new Uint8Array(capacity);
    this.hashTypes = new Uint8Array(capacity);
    this.hashValues = new Uint32Array(capacity);
    this.commandSlots = new Uint8Array(capacity);
    this.#commandFrames = new Uint8Array(capacity);
    this.#words = new Uint32Array(capacity * FRAME_WORDS);
  }

  firstSlot(index: number): number {
    return this.#words[index * FRAME_WORDS + PLACE] & 0xff;
  }

  slotCount(index: number): number {
    return (this.#words[index * FRAME_WORDS + PLACE] >>> 8) & 0xff;
  }

  extraCount(index: number): number {
    return (this.#words[index * FRAME_WORDS + PLACE] >>> 16) & 0xff;
  }

  /**
   * @returns how many slots of the frame hold bytes: those that take a grant operation. An empty slot takes none, and its grant need
   * not exist (XSA-448; Linux's netback responds okay to it without a look at its grant).
   */
  filledCount(index: number): number {
    return (this.#words[index * FRAME_WORDS + PLACE] >>> 24) & 0x7f;
  }

  /** Whether the frame cannot be sent and only needs a response. */
  refused(index: number): boolean {
    return (this.#words[index * FRAME_WORDS + PLACE] & REFUSED) !== 0;
  }

  /** Bytes of the frame. */
  size(index: number): number {
    return this.#words[index * FRAME_WORDS + BYTES] & 0xffff;
  }

  /** TX_FLAG_* of the first slot. */
  flags(index: number): number {
    return this.#words[index * FRAME_WORDS + BYTES] >>> 16;
  }

  /** GSO_TYPE_* | segment size << 16; 0 for none. */
  gso(index: number): number {
    return this.#words[index * FRAME_WORDS + GSO];
  }

  /** Makes the responses of the frame's data slots errors. */
  refuse(index: number): void {
    const first = this.firstSlot(index);
    const extras = this.extraCount(index);
    this.#words[index * FRAME_WORDS + PLACE] |= REFUSED;
    this.refusals++;
    for (let slot = first; slot < first + this.slotCount(index); slot++) {
      const isExtra = slot > first && slot <= first + extras;
      if (!isExtra) this.responses[slot] = (this.responses[slot] & 0xffff) | (RSP_ERROR << 16);
      this.roles[slot] = slot === first ? ROLE_REFUSED : ROLE_NONE;
    }
  }

  /** Leaves frames from `count` on for a later batch, as if they had not been parsed. */
  truncate(count: number): void {
    if (count >= this.count) return;
    for (let i = count; i < this.count; i++) if (this.refused(i)) this.refusals--;
    this.fault = undefined;
    while (this.commands > 0 && this.#commandFrames[this.commands - 1] >= count) this.commands--;
    this.slots = this.firstSlot(count);
    this.count = count;
  }

  /** Makes the response to a command of the guest okay, after it was executed. By default the response is an error. */
  fulfil(command: number): void {
    const first = this.firstSlot(this.#commandFrames[command]);
    this.responses[first] &= 0xffff;
    this.refusals--;
  }

  /** For `parseTx`: extra info in `slot` makes frame `index` a command. */
  command(index: number, slot: number): void {
    this.#unusable = true;
    // At most one command for each frame, as in Linux.
    if (this.commands > 0 && this.#commandFrames[this.commands - 1] === index) return;
    this.commandSlots[this.commands] = slot;
    this.#commandFrames[this.commands] = index;
    this.commands++;
  }

  /** For `parseTx`: there are `count` whole frames, of `slots` slots. */
  finish(count: number, slots: number): void {
    this.count = count;
    this.slots = slots;
    // The frame that was cut off may have been a command.
    if (this.commands > 0 && this.#commandFrames[this.commands - 1] >= count) this.commands--;
  }

  /** For `parseTx`: records the first facts of frame `index` when it begins. */
  begin(index: number, size: number, flags: number): void {
    const at = index * FRAME_WORDS;
    this.#words[at + BYTES] = size | (flags << 16);
    this.#words[at + GSO] = 0;
    this.hashTypes[index] = 0;
    this.#unusable = size < FRAME_BYTES_MIN;
    this.#filled = 0;
    this.gsoFault = undefined;
  }

  /** Ends frame `index`, which can be sent: `filled` of its slots have bytes, and the others extra info. `gso` as the method returns it. */
  endSound(index: number, firstSlot: number, slotCount: number, filled: number, gso: number): void {
    this.#words[index * FRAME_WORDS + PLACE] =
      firstSlot | (slotCount << 8) | ((slotCount - filled) << 16) | (filled << 24);
    this.#words[index * FRAME_WORDS + GSO] = gso;
  }

  /** For `parseTx`: sets the segmentation of frame `index`. */
  segment(index: number, type: number, size: number): void {
    this.#words[index * FRAME_WORDS + GSO] = type | (size << 16);
    if (size === 0) this.gsoFault = 'GSO segment size is zero';
    else if (type === GSO_TYPE_TCPV4 || type === GSO_TYPE_TCPV6) this.gsoFault = undefined;
    else this.gsoFault = 'GSO type is unknown';
  }

  /** For `parseTx`: the hash of frame `index`. A hash of a kind that netif.h does not define is ignored, as in Linux. */
  hash(index: number, head: number, value: number): void {
    const type = 1 << ((head >>> 16) & 31);
    const known = head >>> 24 === HASH_ALGORITHM_TOEPLITZ && (head & 0xe00000) === 0;
    this.hashTypes[index] = known ? type & HASH_TYPES : 0;
    this.hashValues[index] = value;
  }

  /** For `parseTx`: the frame that was begun will be refused. */
  spoil(): void {
    this.#unusable = true;
  }

  get spoiled(): boolean {
    return this.#unusable;
  }

  /** For `parseTx`: records that `count` slots after the first hold bytes. */
  fill(count: number): void {
    this.#filled = count;
  }

  /** For `parseTx`: records frame `index` when it ends. @param share how many bytes its first slot holds. */
  end(index: number, firstSlot: number, slotCount: number, extraCount: number, share: number): void {
    const filled = this.#filled + (share > 0 ? 1 : 0);
    this.#words[index * FRAME_WORDS + PLACE] =
      firstSlot | (slotCount << 8) | (extraCount << 16) | (filled << 24);
    if (this.#unusable) this.refuse(index);
  }
}

/** `readFrame` could not find the frame's end in the slots it has. */
const INCOMPLETE = -1;
/** `readFrame` set `fault`. */
const FAULT = -2;

/**
 * Parses private copies of TX requests, and prepares their responses. The first slot of a frame, whose size on the wire is the frame's, gets
 * its own share as its size: from then on each slot has the size of its data.
 * @param slots `count` requests of TX_SLOT_WORDS words; `count` <= frames.capacity.
 * @param whole true if the frontend has published nothing beyond. Then an incomplete last frame is the frontend's fault; otherwise it is read
 *   with the next batch.
 */
export function parseTx(slots: Uint32Array, count: number, whole: boolean, frames: TxFrames): void {
  frames.refusals = 0;
  frames.fault = undefined;
  frames.commands = 0;
  let index = 0;
  let slot = 0;
  let used = 0;
  while (slot < count) {
    used = readFrame(slots, slot, count, frames, index);
    if (used < 0) break;
    slot += used;
    index++;
  }
  frames.finish(index, slot);
  // A batch holds many frames of the largest size, so a first frame that does not end is endless.
  if (used === INCOMPLETE && (whole || slot === 0)) frames.fault = 'frame is incomplete';
}

/** Reads frame `index`, which begins at slot `first`. @returns its slots, or INCOMPLETE, FAULT. */
function readFrame(
  slots: Uint32Array,
  first: number,
  count: number,
  frames: TxFrames,
  index: number,
): number {
  const at = first * TX_SLOT_WORDS;
  const flags = slots[at + 1] >>> 16;
  const last = slots[at + 2];
  frames.begin(index, last >>> 16, flags);
  frames.responses[first] = last & 0xffff;
  frames.roles[first] = FIRST;
  let extras = 0;
  if ((flags & TX_FLAG_EXTRA_INFO) !== 0) {
    extras = readExtras(slots, first + 1, count, frames, index);
    if (extras < 0) return extras;
  }
  let used = 1 + extras;
  if ((flags & TX_FLAG_MORE_DATA) !== 0) {
    const more = readFragments(slots, first, first + used, count, frames);
    if (more < 0) return more;
    used += more;
  }
  const share = slots[at + 2] >>> 16;
  if (!frames.spoiled && crossesPage(slots, first)) {
    // Linux responds with an error to a frame whose first slot has fewer bytes than an Ethernet header, before it looks at its page.
    if (share >= FRAME_BYTES_MIN) return stop(frames, 'slot crosses a page');
    frames.spoil();
  }
  // Linux looks neither at the page nor at the GSO extra of a frame in which it has found another error.
  if (!frames.spoiled && frames.gsoFault !== undefined) return stop(frames, frames.gsoFault);
  frames.end(index, first, used, extras, share);
  return used;
}

/** Reads the slots after the first; leaves the first slot with its own share of the frame's size. */
function readFragments(
  slots: Uint32Array,
  first: number,
  from: number,
  count: number,
  frames: TxFrames,
): number {
  let left = slots[first * TX_SLOT_WORDS + 2] >>> 16;
  let used = 0;
  let filled = 0;
  let flags = TX_FLAG_MORE_DATA;
  while ((flags & TX_FLAG_MORE_DATA) !== 0) {
    const slot = from + used;
    // `used` counts neither the first slot nor this one.
    if (used + 2 >= FRAME_SLOTS_FATAL) return stop(frames, 'frame has too many slots');
    if (slot >= count) return INCOMPLETE;
    if (crossesPage(slots, slot)) return stop(frames, 'slot crosses a page');
    const at = slot * TX_SLOT_WORDS;
    const last = slots[at + 2];
    const length = last >>> 16;
    flags = slots[at + 1] >>> 16;
    frames.responses[slot] = last & 0xffff;
    frames.roles[slot] = length > 0 ? DATA : NONE;
    if (length > 0) filled++;
    left -= length;
    used++;
  }
  frames.fill(filled);
  if (left < 0 || used + 1 > FRAME_SLOTS_SENT_MAX) {
    frames.spoil();
    // No byte of the frame is used: which share of it is valid cannot be determined.
    left = 0;
  }
  const own = first * TX_SLOT_WORDS + 2;
  slots[own] = (slots[own] & 0xffff) | (left << 16);
  return used;
}

/** Reads the chain of extras that begins at `from`. @returns how many, or INCOMPLETE, FAULT. */
function readExtras(
  slots: Uint32Array,
  from: number,
  count: number,
  frames: TxFrames,
  index: number,
): number {
  let used = 0;
  let more = true;
  while (more) {
    const slot = from + used;
    if (used >= EXTRAS_MAX) return stop(frames, 'extra info repeats without end');
    if (slot >= count) return INCOMPLETE;
    const head = slots[slot * TX_SLOT_WORDS];
    const type = head & 0xff;
    more = ((head >>> 8) & EXTRA_FLAG_MORE) !== 0;
    frames.responses[slot] = RSP_NULL << 16;
    frames.roles[slot] = NONE;
    used++;
    if (type === EXTRA_TYPE_GSO) {
      frames.segment(index, slots[slot * TX_SLOT_WORDS + 1] & 0xff, head >>> 16);
    } else if (type === EXTRA_TYPE_MCAST_ADD || type === EXTRA_TYPE_MCAST_DEL) {
      frames.command(index, slot);
    } else if (type === EXTRA_TYPE_HASH) {
      frames.hash(index, head, slots[slot * TX_SLOT_WORDS + 1]);
    } else if (type === 0 || type > EXTRA_TYPE_XDP) {
      return stop(frames, 'extra info of unknown type');
    }
  }
  return used;
}

function crossesPage(slots: Uint32Array, slot: number): boolean {
  const at = slot * TX_SLOT_WORDS;
  return (slots[at + 1] & 0xffff) + (slots[at + 2] >>> 16) > RING_PAGE_BYTES;
}

function stop(frames: TxFrames, fault: TxFault): number {
  frames.fault = fault;
  return FAULT;
}
