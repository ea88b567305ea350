import {
  FRAME_BYTES_MAX,
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_OP_COUNT,
  FRAME_STATUS,
  FRAMES_ERRNO,
  FrameBatch,
  frameAt,
} from '../../ports/frame-batch.js';
import type { PortIo } from '../../ports/port.js';
import { locateAsNetfront, tcpHeaderEnd } from '../../protocol/checksum.js';
import {
  EXTRA_FLAG_MORE,
  EXTRA_TYPE_GSO,
  EXTRA_TYPE_HASH,
  FRAME_BYTES_MIN,
  FRAME_SLOTS_MAX,
  GSO_TYPE_NONE,
  GSO_TYPE_TCPV4,
  GSO_TYPE_TCPV6,
  RSP_DROPPED,
  RSP_ERROR,
  RX_FLAG_CSUM_BLANK,
  RX_FLAG_DATA_VALIDATED,
  RX_FLAG_EXTRA_INFO,
  RX_FLAG_MORE_DATA,
  RX_RING_SIZE,
  RX_SLOT_WORDS,
} from '../../protocol/netif.js';
import {
  VNET_FLAG_DATA_VALID,
  VNET_FLAG_NEEDS_CSUM,
  vnetFirst,
  vnetSecond,
  writeVnet,
} from '../../protocol/vnet.js';
import { type Arena, PAGE_SIZE, type SharedPages } from '../../xen/seam.js';
import { copyBytes } from './copy.js';
import type { FrontFeatures } from './features.js';
import type { HashOracle } from './hash-oracle.js';
import { gsoKindOf, isIpv6 } from './offload.js';
import { PageGrants } from './pages.js';
import type { QueueOptions } from './queue-options.js';
import { FrontRing, RESPONSES_IMPOSSIBLE } from './ring.js';
import { DirectionStats } from './stats.js';
import type { ViolationKind } from './violations.js';

/** Fits into the cache, and has room for the longest frames of a turn. */
export const RECEIVE_ARENA_BYTES = 1 << 20;
const FRAME_ALIGN = 64;
/** The vnet header lies in front, and words stay aligned. */
const FRAME_PHASE = 16;
/** Room for a chain of the longest allowed length. */
const CHAIN_BYTES_MAX = FRAME_SLOTS_MAX * PAGE_SIZE;
/** How many bytes of a frame are searched for its headers. */
const HEADERS_BYTES_MAX = 256;
const ROUNDS_MAX = 16;

export interface ReceiveOptions extends QueueOptions {
  readonly arena: Arena;
  /** The features that this frontend offered. */
  readonly features: FrontFeatures;
  /** Checks the backend's hashes. */
  readonly hash: HashOracle;
  /** Longest frame without GSO that may come. Default: FRAME_BYTES_MAX. */
  readonly frameBytesMax?: number;
  /** The most empty buffers that wait in the ring. Default: as many as it has slots. */
  readonly buffersMax?: number;
}

/** To-guest: fills the ring with empty pages, and makes frames of the responses. */
export class Receive {
  readonly stats = new DirectionStats();
  /** Frames for the port. */
  readonly writes: FrameBatch;
  readonly ringPage: SharedPages;
  readonly #options: ReceiveOptions;
  readonly #ring: FrontRing;
  /** Page i is the buffer of slot i. */
  readonly #pool: SharedPages;
  readonly grants: PageGrants;
  readonly #refs = new Uint32Array(RX_RING_SIZE);
  readonly #ids = new Uint16Array(RX_RING_SIZE);
  #io: PortIo | undefined;
  /** The pool's present memory. */
  readonly #pages: { bytes: Uint8Array; u32: Uint32Array };
  /** The place of the next frame in the arena. */
  #cursor = FRAME_PHASE;

  // The frame that is being assembled: fields and no object, so that no frame allocates one.
  #bytes = 0;
  #chunks = 0;
  #intact = true;
  #gsoType = GSO_TYPE_NONE;
  #gsoSize = 0;

  constructor(options: ReceiveOptions) {
    this.#options = options;
    this.ringPage = options.shares.allocate(1);
    this.#pool = options.shares.allocate(RX_RING_SIZE);
    this.#pages = { bytes: this.#pool.bytes, u32: this.#pool.u32 };
    this.#ring = new FrontRing({
      page: this.ringPage,
      size: RX_RING_SIZE,
      slotWords: RX_SLOT_WORDS,
      start: options.ringStart,
    });
    this.grants = new PageGrants({
      pool: this.#pool,
      backendDomid: options.backendDomid,
      access: 'write',
      keepGrants: options.keepGrants,
    });
    this.writes = new FrameBatch(options.arena, RX_RING_SIZE);
  }

  get ring(): FrontRing {
    return this.#ring;
  }

  start(io: PortIo): void {
    this.#io = io;
    this.#ring.refresh();
    this.#post();
  }

  /** Takes responses and posts empty buffers, until the ring is empty. @returns true if its turn ended first. */
  pump(): boolean {
    this.#ring.refresh();
    this.#pages.bytes = this.#pool.bytes;
    this.#pages.u32 = this.#pool.u32;
    if (!this.#ring.intact()) this.#violation('index-overwritten', 0, 'req_prod is not what was written');
    for (let round = 0; round < ROUNDS_MAX; round++) {
      if (!this.#collect()) return false;
      this.#post();
      // After the buffers are posted again: the backend fills them while the port takes the frames.
      this.#flush();
      if (!this.#ring.arm()) return false;
    }
    return true;
  }

  dispose(): void {
    this.#io = undefined;
    this.#pool[Symbol.dispose]();
    this.ringPage[Symbol.dispose]();
  }

  // ---- buffers ---------------------------------------------------------------------------------

  #post(): void {
    const ring = this.#ring;
    const { words } = ring;
    const withheld = RX_RING_SIZE - (this.#options.buffersMax ?? RX_RING_SIZE);
    const free = Math.max(0, ring.free - withheld);
    for (let i = 0; i < free; i++) {
      const index = ring.produce();
      const slot = ring.slot(index);
      const id = this.#options.random.next() & 0xffff;
      const ref = this.grants.grant(slot);
      this.#ids[slot] = id;
      this.#refs[slot] = ref;
      const at = ring.at(index);
      words[at] = id;
      words[at + 1] = ref;
    }
    this.stats.requests += free;
    if (!ring.push()) return;
    this.stats.notifications += 1;
    this.#options.notify();
  }

  /** Ends the grant of a slot that has its response. */
  #takeBack(slot: number): void {
    const ref = this.#refs[slot] as number;
    if (!this.grants.end(ref)) this.#violation('grant-in-use', slot, `reference ${ref}`);
  }

  // ---- responses -------------------------------------------------------------------------------

  /** @returns false if the ring's state is impossible. */
  #collect(): boolean {
    const ring = this.#ring;
    let waiting = ring.responses();
    if (waiting === RESPONSES_IMPOSSIBLE) {
      this.#reportProducer();
      return false;
    }
    this.stats.responses += waiting;
    while (waiting > 0) {
      const used = this.#takeFrame(ring.consumed, waiting);
      ring.consume(used);
      waiting -= used;
    }
    return true;
  }

  /** @returns how many slots belonged to the frame; at least one. */
  #takeFrame(index: number, waiting: number): number {
    const { words } = this.#ring;
    const at = this.#ring.at(index);
    const flags = (words[at + 1] as number) & 0xffff;
    this.#bytes = 0;
    this.#chunks = 0;
    this.#intact = true;
    this.#gsoType = GSO_TYPE_NONE;
    if (this.#cursor + CHAIN_BYTES_MAX > RECEIVE_ARENA_BYTES) this.#flush();
    this.#takeChunk(index);
    let used = 1;
    if ((flags & RX_FLAG_EXTRA_INFO) !== 0) used += this.#takeExtras((index + 1) >>> 0, waiting - 1);
    let more = (flags & RX_FLAG_MORE_DATA) !== 0;
    while (more) {
      if (used >= waiting) {
        const detail = `more_data after ${this.#chunks} slots of data`;
        this.#broken('chain-incomplete', this.#ring.slot(index), detail);
        break;
      }
      more = this.#takeChunk((index + used) >>> 0);
      used += 1;
    }
    if (this.#chunks > FRAME_SLOTS_MAX) {
      const detail = `${this.#chunks} slots, at most ${FRAME_SLOTS_MAX}`;
      this.#broken('chain-too-long', this.#ring.slot(index), detail);
    }
    this.#finish(this.#ring.slot(index), flags);
    return used;
  }

  /** Takes one slot of data. @returns its more_data. */
  #takeChunk(index: number): boolean {
    const slot = this.#ring.slot(index);
    const { words } = this.#ring;
    const at = this.#ring.at(index);
    const head = words[at] as number;
    const tail = words[at + 1] as number;
    const id = head & 0xffff;
    const offset = head >>> 16;
    const status = (tail | 0) >> 16;
    if (id !== this.#ids[slot]) {
      this.#violation('wrong-id', slot, `id ${id}, the request had ${this.#ids[slot]}`);
    }
    this.#takeBack(slot);
    this.#chunks += 1;
    if (status < 0) {
      this.stats.errors += 1;
      this.#intact = false;
      if (status !== RSP_ERROR && status !== RSP_DROPPED) {
        this.#violation('unknown-status', slot, `status ${status}`);
      }
    } else if (offset + status > PAGE_SIZE) {
      this.#broken('span-beyond-page', slot, `offset ${offset}, ${status} bytes`);
    } else if (this.#chunks <= FRAME_SLOTS_MAX) {
      copyBytes(
        this.#pages,
        slot * PAGE_SIZE + offset,
        this.#options.arena,
        this.#cursor + this.#bytes,
        status,
      );
      this.#bytes += status;
    }
    return (tail & RX_FLAG_MORE_DATA) !== 0;
  }

  /** Takes the extras that follow a frame's first slot. @returns how many. */
  #takeExtras(index: number, waiting: number): number {
    const { words } = this.#ring;
    let used = 0;
    let more = true;
    while (more) {
      const slot = this.#ring.slot(index + used);
      if (used >= waiting) {
        this.#broken('missing-extra', slot, 'extra_info, and rsp_prod ends before it');
        break;
      }
      const at = this.#ring.at(index + used);
      const head = words[at] as number;
      const type = head & 0xff;
      more = ((head >>> 8) & EXTRA_FLAG_MORE) !== 0;
      this.#takeBack(slot);
      used += 1;
      if (type === EXTRA_TYPE_GSO) this.#takeGso(slot, head >>> 16, (words[at + 1] as number) & 0xff);
      else if (type === EXTRA_TYPE_HASH && this.#options.hash.asked)
        this.#options.hash.take(head, words[at + 1] as number);
      else this.#broken('bad-extra', slot, `type ${type}`);
    }
    return used;
  }

  #takeGso(slot: number, size: number, type: number): void {
    const { features } = this.#options;
    this.#gsoType = type;
    this.#gsoSize = size;
    if (size === 0 || (type !== GSO_TYPE_TCPV4 && type !== GSO_TYPE_TCPV6)) {
      this.#broken('bad-gso', slot, `size ${size}, type ${type}`);
    } else if (!(type === GSO_TYPE_TCPV4 ? features.gsoV4 : features.gsoV6)) {
      this.#violation('not-negotiated', slot, `GSO of type ${type}`);
    }
  }

  // ---- frames ----------------------------------------------------------------------------------

  #finish(slot: number, flags: number): void {
    this.#checkFrame(slot, flags);
    const wrong = this.#options.hash.finish(this.#options.arena.bytes, this.#cursor, this.#bytes);
    if (wrong !== undefined) this.#violation('bad-hash', slot, wrong);
    if (!this.#intact || !this.#writeHeader(slot, flags)) return;
    const index = this.writes.count;
    const at = frameAt(index);
    const { block } = this.writes;
    block[at + FRAME_OFFSET] = this.#cursor;
    block[at + FRAME_LENGTH] = this.#bytes;
    block[at + FRAME_OP_COUNT] = 0;
    block[at + FRAME_STATUS] = 0;
    this.writes.count = index + 1;
    this.#cursor = ((this.#cursor + this.#bytes + FRAME_ALIGN - 1) & -FRAME_ALIGN) + FRAME_PHASE;
    this.stats.frames += 1;
    this.stats.bytes += this.#bytes;
    if (this.#gsoType !== GSO_TYPE_NONE) this.stats.gsoFrames += 1;
    if (this.writes.count === RX_RING_SIZE) this.#flush();
  }

  #checkFrame(slot: number, flags: number): void {
    if (!this.#intact) return;
    const { features, frameBytesMax = FRAME_BYTES_MAX } = this.#options;
    const gso = this.#gsoType !== GSO_TYPE_NONE;
    const blank = (flags & RX_FLAG_CSUM_BLANK) !== 0;
    // Linux repairs a GSO frame without csum_blank at a cost, and Windows becomes very slow (mirage-net-xen #122).
    if (gso && (!blank || (flags & RX_FLAG_DATA_VALIDATED) === 0)) {
      this.#violation('bad-gso', slot, `flags ${flags}: csum_blank and data_validated belong to GSO`);
    }
    if (this.#chunks > 1 && !features.sg)
      this.#violation('not-negotiated', slot, `${this.#chunks} slots without sg`);
    if (this.#bytes < FRAME_BYTES_MIN) this.#broken('frame-too-short', slot, `${this.#bytes} bytes`);
    if (this.#bytes > (gso ? FRAME_BYTES_MAX : frameBytesMax)) {
      this.#broken('frame-too-large', slot, `${this.#bytes} bytes`);
    }
  }

  /** Writes the meaning of flags and extras into the vnet header. @returns false for a frame that Linux would drop here. */
  #writeHeader(slot: number, flags: number): boolean {
    const { arena, features } = this.#options;
    const start = this.#cursor;
    const gso = this.#gsoType !== GSO_TYPE_NONE;
    let vnetFlags = (flags & RX_FLAG_DATA_VALIDATED) !== 0 ? VNET_FLAG_DATA_VALID : 0;
    let where = 0;
    let headers = 0;
    if (gso || (flags & RX_FLAG_CSUM_BLANK) !== 0) {
      const looked = Math.min(this.#bytes, HEADERS_BYTES_MAX);
      where = locateAsNetfront(arena.bytes, start, looked);
      if (where === 0) {
        this.stats.dropped += 1;
        return false;
      }
      vnetFlags = VNET_FLAG_NEEDS_CSUM;
      if (gso) headers = tcpHeaderEnd(arena.bytes, start, looked, where & 0xffff);
      const v6 = isIpv6(arena.bytes, start);
      if (!(v6 ? features.checksumV6 : features.checksumV4)) {
        this.#violation('not-negotiated', slot, 'csum_blank without the offload');
      }
    }
    const first = vnetFirst(vnetFlags, gsoKindOf(this.#gsoType), headers);
    const second = vnetSecond(gso ? this.#gsoSize : 0, where & 0xffff);
    writeVnet(arena.u32, start, first, second, where >>> 16);
    return true;
  }

  /** Passes all assembled frames to the port. Frames that it does not take are lost, as when a guest's own backlog overflows. */
  #flush(): void {
    const frames = this.writes.count;
    this.#cursor = FRAME_PHASE;
    if (frames === 0) return;
    const { block } = this.writes;
    block[FRAMES_ERRNO] = 0;
    const taken = this.#io?.write() ?? 0;
    this.stats.dropped += frames - taken;
    if (block[FRAMES_ERRNO] !== 0) {
      for (let i = 0; i < taken; i++) if (block[frameAt(i) + FRAME_STATUS] !== 0) this.stats.dropped += 1;
    }
    this.writes.count = 0;
  }

  #reportProducer(): void {
    const complaint = this.#ring.complaint();
    if (complaint !== undefined) this.#violation('responses-beyond-requests', 0, complaint);
  }

  /** Records a violation after which there is no frame to pass on. */
  #broken(kind: ViolationKind, slot: number, detail: string): void {
    this.#intact = false;
    this.#violation(kind, slot, detail);
  }

  #violation(kind: ViolationKind, slot: number, detail: string): void {
    this.#options.violations.add(kind, 'to-guest', slot, detail);
  }
}
