import {
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAMES_ALIGN,
  FRAMES_END,
  FRAMES_MORE,
  FRAMES_PHASE,
  FRAMES_START,
  FrameBatch,
  frameAt,
} from '../../ports/frame-batch.js';
import type { PortIo } from '../../ports/port.js';
import {
  EXTRA_TYPE_GSO,
  GSO_TYPE_NONE,
  RSP_DROPPED,
  RSP_ERROR,
  RSP_NULL,
  RSP_OKAY,
  TX_FLAG_EXTRA_INFO,
  TX_FLAG_MORE_DATA,
  TX_RING_SIZE,
  TX_SLOT_WORDS,
} from '../../protocol/netif.js';
import { vnetFlags, vnetGsoBytes, vnetGsoKind, vnetWord } from '../../protocol/vnet.js';
import { PAGE_SIZE, type SharedPages } from '../../xen/seam.js';
import { IdPool } from './ids.js';
import { MulticastCommands } from './multicast.js';
import { checksumFlags, fits, gsoTypeOf } from './offload.js';
import { PageGrants, PageRing } from './pages.js';
import type { TransmitOptions } from './queue-options.js';
import { FrontRing, RESPONSES_IMPOSSIBLE } from './ring.js';
import { DirectionStats } from './stats.js';
import type { ViolationKind } from './violations.js';

/** Where frames begin in their first page: behind the vnet header, and not at 0, so that a backend that ignores the offset fails. */
const FRAME_PHASE = 64;
/** How many pages the longest frame touches: 65553 bytes behind 64. */
const FRAME_PAGES_MAX = 17;
/** A page for every slot, and the pages that are passed over at the pool's end. */
const POOL_PAGES = TX_RING_SIZE + 2 * FRAME_PAGES_MAX;
const BATCH_FRAMES = 128;
/** The most reads of the port in one pump, so that a port with endless frames does not delay the other direction. */
const ROUNDS_MAX = 16;

const SLOT_IDLE = -1;
const SLOT_EXTRA = -2;
const NO_FRAME = -1;
const ID_NEVER_USED = 0;
const ID_IN_USE = 1;
const ID_RESPONDED = 2;
/** In place of the page of a request that changes the multicast list. */
const NO_PAGE = 0xffff;

/** From-guest: takes frames out of the port straight into granted pages, and reads the responses. */
export class Transmit {
  readonly stats = new DirectionStats();
  /** Where the port puts frames: the pages that the backend reads them from. */
  readonly reads: FrameBatch;
  readonly ringPage: SharedPages;
  /** Changes of the multicast list that go into the ring before the next frame. */
  readonly multicast = new MulticastCommands();
  readonly #options: TransmitOptions;
  readonly #ring: FrontRing;
  readonly #pool: SharedPages;
  readonly #pages = new PageRing(POOL_PAGES);
  readonly grants: PageGrants;
  readonly #ids: IdPool;
  readonly #idState = new Uint8Array(TX_RING_SIZE);
  readonly #idRef = new Uint32Array(TX_RING_SIZE);
  readonly #idPage = new Uint16Array(TX_RING_SIZE);
  /** By slot: the id of its request, SLOT_EXTRA or SLOT_IDLE. */
  readonly #slotId = new Int16Array(TX_RING_SIZE).fill(SLOT_IDLE);
  /** By slot: the number of the frame that begins there. */
  readonly #slotFrame = new Float64Array(TX_RING_SIZE).fill(NO_FRAME);
  #io: PortIo | undefined;
  /** The frames of `reads` from this one on are read and not yet in the ring. */
  #nextFrame = 0;
  /** Whether the port calls back when frames wait. */
  #portIdle = false;
  #pumping = false;
  #fullSince: number | undefined;

  constructor(options: TransmitOptions) {
    this.#options = options;
    this.ringPage = options.shares.allocate(1);
    this.#pool = options.shares.allocate(POOL_PAGES);
    this.#ring = new FrontRing({
      page: this.ringPage,
      size: TX_RING_SIZE,
      slotWords: TX_SLOT_WORDS,
      start: options.ringStart,
    });
    this.grants = new PageGrants({
      pool: this.#pool,
      backendDomid: options.backendDomid,
      access: 'read',
      keepGrants: options.keepGrants,
    });
    this.#ids = new IdPool(TX_RING_SIZE, options.random);
    this.reads = new FrameBatch(this.#pool, BATCH_FRAMES);
    this.reads.block[FRAMES_ALIGN] = PAGE_SIZE;
    this.reads.block[FRAMES_PHASE] = FRAME_PHASE;
  }

  get ring(): FrontRing {
    return this.#ring;
  }

  /** The number of requests to which the backend has not responded. */
  get outstanding(): number {
    this.#ring.refresh();
    return this.#ring.outstanding;
  }

  start(io: PortIo): void {
    this.#io = io;
  }

  /** Stops reading frames from the port. */
  stop(): void {
    this.#io = undefined;
  }

  onReadable(): void {
    this.#portIdle = false;
  }

  /** Reads responses, then the port, until neither has more or the turn ends. @returns true if the turn ended first. */
  pump(): boolean {
    // A port may call back from within `wantReadable`: the pump that runs handles that.
    if (this.#pumping) return false;
    this.#pumping = true;
    const more = this.#pump();
    this.#pumping = false;
    return more;
  }

  #pump(): boolean {
    this.#ring.refresh();
    if (!this.#ring.intact()) this.#violation('index-overwritten', 0, 'req_prod is not what was written');
    for (let round = 0; round < ROUNDS_MAX; round++) {
      this.#collect();
      if (!this.#submit()) {
        this.#ringIsFull();
        return false;
      }
      if (this.#portIdle || this.#io === undefined) return false;
      if (!this.#read(this.#io)) return false;
    }
    return true;
  }

  /** Frees the memory. The caller owns the ring's own grant. */
  dispose(): void {
    this.#io = undefined;
    this.#pool[Symbol.dispose]();
    this.ringPage[Symbol.dispose]();
  }

  // ---- requests --------------------------------------------------------------------------------

  /** @returns false if there was no space, or no frame. */
  #read(io: PortIo): boolean {
    const first = this.#pages.area(FRAME_PAGES_MAX);
    if (first < 0) {
      this.#ringIsFull();
      return false;
    }
    const { block } = this.reads;
    block[FRAMES_START] = first * PAGE_SIZE;
    block[FRAMES_END] = (first + this.#pages.run()) * PAGE_SIZE;
    const frames = io.read();
    this.reads.count = frames;
    this.#nextFrame = 0;
    for (let frame = 0; frame < frames; frame++) this.#stage(frame);
    if (block[FRAMES_MORE] === 0) {
      this.#portIdle = true;
      io.wantReadable();
    }
    return frames > 0;
  }

  /** Reserves the frame's pages, until its last response. */
  #stage(frame: number): void {
    const { block } = this.reads;
    const at = frameAt(frame);
    const offset = block[at + FRAME_OFFSET] as number;
    const length = block[at + FRAME_LENGTH] as number;
    if (!fits(length)) return;
    const last = (offset + length - 1) >>> 12;
    for (let page = offset >>> 12; page <= last; page++) this.#pages.use(page);
    this.#pages.takeUpTo(offset + length);
  }

  /** Puts frames that were read into the ring. @returns false if the ring has no room for the next one. */
  #submit(): boolean {
    const frames = this.reads.count;
    let room = true;
    while (this.multicast.waiting > 0 && room) room = this.#submitCommand();
    while (this.#nextFrame < frames && room) {
      room = this.#submitFrame(this.#nextFrame);
      if (room) this.#nextFrame += 1;
    }
    if (this.#ring.push()) {
      this.stats.notifications += 1;
      this.#options.notify();
    }
    if (room) this.#ringHasRoom();
    return room;
  }

  #submitFrame(frame: number): boolean {
    const at = frameAt(frame);
    const offset = this.reads.block[at + FRAME_OFFSET] as number;
    const length = this.reads.block[at + FRAME_LENGTH] as number;
    if (!fits(length)) {
      this.stats.dropped += 1;
      return true;
    }
    const { u32 } = this.#pool;
    const first = vnetWord(u32, offset, 0);
    const gso = gsoTypeOf(vnetGsoKind(first));
    const chunks = ((offset + length - 1) >>> 12) - (offset >>> 12) + 1;
    const slots = gso === GSO_TYPE_NONE ? chunks : chunks + 1;
    if (this.#ring.free < slots || this.#ids.available < chunks) return false;
    let flags = checksumFlags(vnetFlags(first));
    if (gso !== GSO_TYPE_NONE) flags |= TX_FLAG_EXTRA_INFO;
    this.#slotFrame[this.#ring.slot(this.#ring.produced)] = this.stats.frames;
    this.#writeData(offset, length, flags, chunks > 1);
    if (gso !== GSO_TYPE_NONE)
      this.#writeExtra(EXTRA_TYPE_GSO | (vnetGsoBytes(vnetWord(u32, offset, 1)) << 16), gso);
    this.#writeFragments(offset, length, chunks);
    this.stats.frames += 1;
    this.stats.bytes += length;
    this.stats.requests += slots;
    if (gso !== GSO_TYPE_NONE) this.stats.gsoFrames += 1;
    return true;
  }

  /** Writes two slots: a request without a page, and the extra info. @returns false if the ring has no room for them. */
  #submitCommand(): boolean {
    if (this.#ring.free < 2 || this.#ids.available === 0) return false;
    const id = this.#writeRequest(0, TX_FLAG_EXTRA_INFO << 16, 0, NO_PAGE);
    this.#writeExtra(...this.multicast.begin(id));
    this.stats.requests += 2;
    return true;
  }

  #writeFragments(offset: number, length: number, chunks: number): void {
    const end = offset + length;
    let from = (offset & ~0xfff) + PAGE_SIZE;
    for (let chunk = 1; chunk < chunks; chunk++) {
      const bytes = Math.min(PAGE_SIZE, end - from);
      this.#writeData(from, bytes, 0, chunk < chunks - 1);
      from += PAGE_SIZE;
    }
  }

  /** @param size the slot's size field: the whole frame's size in its first slot, the slot's own bytes in the others. */
  #writeData(offset: number, size: number, flags: number, more: boolean): void {
    const page = offset >>> 12;
    const place = (offset & 0xfff) | ((more ? flags | TX_FLAG_MORE_DATA : flags) << 16);
    this.#writeRequest(this.grants.grant(page), place, size, page);
  }

  /** @returns its id. */
  #writeRequest(ref: number, place: number, size: number, page: number): number {
    const id = this.#ids.take();
    this.#idState[id] = ID_IN_USE;
    this.#idRef[id] = ref;
    this.#idPage[id] = page;
    const index = this.#ring.produce();
    this.#slotId[this.#ring.slot(index)] = id;
    const { words } = this.#ring;
    const at = this.#ring.at(index);
    words[at] = ref;
    words[at + 1] = place;
    words[at + 2] = id | (size << 16);
    return id;
  }

  /** Writes eight bytes, as struct xen_netif_extra_info has; the slot's other four are unchanged. */
  #writeExtra(first: number, second: number): void {
    const index = this.#ring.produce();
    this.#slotId[this.#ring.slot(index)] = SLOT_EXTRA;
    const { words } = this.#ring;
    const at = this.#ring.at(index);
    words[at] = first;
    words[at + 1] = second;
  }

  #ringIsFull(): void {
    if (this.#fullSince !== undefined) return;
    this.#fullSince = this.#options.clock.now();
    this.stats.ringFull += 1;
  }

  #ringHasRoom(): void {
    if (this.#fullSince === undefined) return;
    this.stats.ringFullMs += this.#options.clock.now() - this.#fullSince;
    this.#fullSince = undefined;
  }

  // ---- responses -------------------------------------------------------------------------------

  #collect(): void {
    const ring = this.#ring;
    do {
      const waiting = ring.responses();
      if (waiting === RESPONSES_IMPOSSIBLE) {
        this.#reportProducer();
        return;
      }
      const first = ring.consumed;
      for (let i = 0; i < waiting; i++) this.#takeResponse((first + i) >>> 0);
      ring.consume(waiting);
    } while (ring.arm());
  }

  #takeResponse(index: number): void {
    const slot = this.#ring.slot(index);
    const word = this.#ring.words[this.#ring.at(index)] as number;
    const status = (word | 0) >> 16;
    const own = this.#slotId[slot] as number;
    this.#slotId[slot] = SLOT_IDLE;
    this.stats.responses += 1;
    if (status === RSP_ERROR) this.stats.errors += 1;
    else if (status === RSP_DROPPED) this.stats.dropped += 1;
    if (this.#options.inOrder) this.#takeInOrder(slot, word & 0xffff, status, own);
    else if (status !== RSP_NULL) this.#takeById(slot, word & 0xffff, status);
  }

  /** Ends the request in `slot` whatever its response has: a page that stayed in use would hide later errors. */
  #takeInOrder(slot: number, id: number, status: number, own: number): void {
    if (own === SLOT_EXTRA) {
      if (status !== RSP_NULL) this.#violation('extra-not-null', slot, `the response has status ${status}`);
      return;
    }
    if (status === RSP_NULL) this.#violation('unknown-status', slot, `RSP_NULL for data, id ${own}`);
    else {
      this.#checkStatus(slot, id, status);
      if (id !== own) this.#wrongId(slot, id, `the request had ${own}`);
      this.#report(slot, status);
    }
    this.#release(own, slot, status);
  }

  #report(slot: number, status: number): void {
    const frame = this.#slotFrame[slot] as number;
    if (frame === NO_FRAME) return;
    this.#slotFrame[slot] = NO_FRAME;
    this.#options.onResponse?.(frame, status);
  }

  /** Handles a response by its id. Responses to extras are NULL, and their slots have no meaning. */
  #takeById(slot: number, id: number, status: number): void {
    this.#checkStatus(slot, id, status);
    if (id < TX_RING_SIZE && this.#idState[id] === ID_IN_USE) this.#release(id, slot, status);
    else this.#wrongId(slot, id, 'no request has it now');
  }

  #checkStatus(slot: number, id: number, status: number): void {
    if (status === RSP_OKAY || status === RSP_ERROR || status === RSP_DROPPED) return;
    this.#violation('unknown-status', slot, `status ${status}, id ${id}`);
  }

  #wrongId(slot: number, id: number, why: string): void {
    const state = id < TX_RING_SIZE ? this.#idState[id] : ID_IN_USE;
    if (state === ID_RESPONDED)
      this.#violation('repeated-id', slot, `id ${id} got a response before; ${why}`);
    else if (state === ID_NEVER_USED) this.#violation('idle-slot', slot, `id ${id} was never used; ${why}`);
    else this.#violation('wrong-id', slot, `id ${id}; ${why}`);
  }

  #release(id: number, slot: number, status: number): void {
    if (this.#idState[id] !== ID_IN_USE) return;
    this.#idState[id] = ID_RESPONDED;
    this.#ids.give(id);
    const page = this.#idPage[id] as number;
    if (page === NO_PAGE) {
      this.multicast.end(id, status);
      return;
    }
    const ref = this.#idRef[id] as number;
    if (!this.grants.end(ref)) this.#violation('grant-in-use', slot, `reference ${ref}, id ${id}`);
    this.#pages.release(page);
  }

  #reportProducer(): void {
    const complaint = this.#ring.complaint();
    if (complaint !== undefined) this.#violation('responses-beyond-requests', 0, complaint);
  }

  #violation(kind: ViolationKind, slot: number, detail: string): void {
    this.#options.violations.add(kind, 'from-guest', slot, detail);
  }
}
