/** The guest of record.mjs: writes requests into its rings, and returns the responses. Works on any Xen of the seam. */

const PAGE = 4096;
const DATA_PAGES = 64;
/** Pages of frames to send come first, and pages of buffers begin here; the last few are for staging. */
const BUFFER_PAGES = 20;
const [REQ_PROD, REQ_EVENT, RSP_PROD, RSP_EVENT, HEADER_WORDS] = [0, 1, 2, 3, 16];
const [TX_WORDS, RX_WORDS, CTRL_WORDS] = [3, 2, 4];
const [TX_CSUM_BLANK, TX_MORE_DATA, TX_EXTRA_INFO] = [1, 4, 8];
const [MCAST_ADD, MCAST_DEL, EXTRA_HASH] = [2, 3, 4];
const [SET_FLAGS, SET_KEY, SET_MAPPING_SIZE, SET_MAPPING, SET_ALGORITHM, ADD_GREF, DEL_GREF] = [
  2, 3, 5, 6, 7, 9, 10,
];

/** A frame that its text identifies; its other bytes are a pattern. */
export function patternFrame(text, bytes) {
  const frame = Buffer.alloc(bytes);
  for (let i = 0; i < bytes; i++) frame[i] = (i * 7 + (i >>> 8)) & 0xff;
  Buffer.from('02000000000100163e00000788b5', 'hex').copy(frame);
  frame.write(text, 14, 'latin1');
  return Object.assign(frame, { text });
}

/** IPv4 and UDP; the checksum is open. */
export function udpFrame(text, bytes, port = 7000) {
  const frame = Buffer.alloc(bytes);
  Buffer.from('02000000000100163e0000070800', 'hex').copy(frame);
  frame[14] = 0x45;
  frame.writeUInt16BE(bytes - 14, 16);
  frame.writeUInt16BE(0x4000, 20);
  frame[22] = 64;
  frame[23] = 17;
  Buffer.from('0a0900010a090002', 'hex').copy(frame, 26);
  frame.writeUInt16BE(5000, 34);
  frame.writeUInt16BE(port, 36);
  frame.writeUInt16BE(bytes - 34, 38);
  frame.write(text, 42, 'latin1');
  return Object.assign(frame, { text, openChecksum: true });
}

class Ring {
  constructor(xen, slotWords, size, start) {
    this.pages = xen.shares.allocate(1);
    this.slotWords = slotWords;
    this.size = size;
    this.start = start >>> 0;
    this.ref = this.pages.grant(0, 0, 'write');
    const words = this.words;
    words[REQ_PROD] = words[RSP_PROD] = start;
    words[REQ_EVENT] = words[RSP_EVENT] = start + 1;
  }

  get words() {
    return this.pages.u32;
  }

  get u32() {
    return this.pages.u32;
  }

  get answered() {
    return (this.words[RSP_PROD] - this.start) >>> 0;
  }

  at(index) {
    return HEADER_WORDS + (index & (this.size - 1)) * this.slotWords;
  }

  /** Publishes requests as one. @returns the index of the first. */
  put(slots) {
    const first = this.words[REQ_PROD];
    for (const [i, slot] of slots.entries()) this.words.set(slot, this.at((first + i) >>> 0));
    Atomics.store(this.words, REQ_PROD, first + slots.length);
    return first;
  }

  indices() {
    return { reqProd: this.words[REQ_PROD], rspProd: this.words[RSP_PROD] };
  }
}

class TxRing extends Ring {
  /** By the index of a frame's last slot. */
  #ends = [];
  #requests = new Map();

  put(slots, ends = []) {
    const first = super.put(slots);
    for (const [i, slot] of slots.entries()) this.#requests.set((first + i) >>> 0, slot[0]);
    this.#ends.push(...ends.map((end) => (first + end - this.start) >>> 0));
    return first;
  }

  /** How many frames have a response. */
  get answeredFrames() {
    return this.#ends.filter((end) => end < this.answered).length;
  }

  /** Whether a response stands where the request was. */
  response(index) {
    const request = this.#requests.get(index >>> 0);
    return request !== undefined && this.words[this.at(index)] !== request;
  }
}

export class Guest {
  constructor(xen, options) {
    const {
      queues,
      split,
      control,
      ringStart = 0,
      controlStart = 0,
      keys = {},
      pages = DATA_PAGES,
      settle,
    } = options;
    this.xen = xen;
    this.settle = settle ?? (() => new Promise((resolved) => setTimeout(resolved, 10)));
    this.keys = keys;
    this.data = xen.shares.allocate(pages);
    this.refs = Array.from({ length: pages }, (_, page) => this.data.grant(page, 0, 'write'));
    this.queues = Array.from({ length: queues }, () => ({
      tx: new TxRing(xen, TX_WORDS, 256, ringStart),
      rx: new Ring(xen, RX_WORDS, 256, ringStart),
      channels: Array.from({ length: split ? 2 : 1 }, () => this.#channel()),
      posted: [],
    }));
    this.nextPage = 0;
    this.nextBuffer = BUFFER_PAGES;
    if (!control) return;
    const page = xen.shares.allocate(1);
    const ring = new Ring(xen, CTRL_WORDS, 128, controlStart);
    this.control = { ring, page, pageRef: page.grant(0, 0, 'write'), channel: this.#channel() };
  }

  ref(page) {
    return this.refs[page];
  }

  /** Writes the keys of a connected frontend. */
  async connect(store, path) {
    const own = (queue) => {
      const [tx, rx] = queue.channels.map(({ port }) => `${port}`);
      return {
        'tx-ring-ref': `${queue.tx.ref}`,
        'rx-ring-ref': `${queue.rx.ref}`,
        ...(rx === undefined ? { 'event-channel': tx } : { 'event-channel-tx': tx, 'event-channel-rx': rx }),
      };
    };
    const many = this.queues.length > 1;
    const nodes = {
      ...(many ? { 'multi-queue-num-queues': `${this.queues.length}` } : own(this.queues[0])),
      'request-rx-copy': '1',
      'feature-rx-notify': '1',
      'feature-sg': '1',
      'feature-gso-tcpv4': '1',
      'feature-gso-tcpv6': '1',
      'feature-ipv6-csum-offload': '1',
      ...(this.control && {
        'ctrl-ring-ref': `${this.control.ring.ref}`,
        'event-channel-ctrl': `${this.control.channel.port}`,
      }),
      ...this.keys,
    };
    await store.transaction(async (view) => {
      for (const [key, value] of Object.entries(nodes)) await view.write(`${path}/${key}`, value);
      for (const [index, queue] of (many ? this.queues : []).entries()) {
        for (const [key, value] of Object.entries(own(queue)))
          await view.write(`${path}/queue-${index}/${key}`, value);
      }
      await view.write(`${path}/state`, '4');
    });
  }

  /** Sends frames as one. Each begins at 100 in a page of its own. */
  send(index, frames) {
    const queue = this.queues[index];
    const slots = [];
    const ends = [];
    for (const frame of frames) {
      let offset = 100;
      let done = 0;
      while (done < frame.length) {
        const piece = Math.min(PAGE - offset, frame.length - done);
        const page = this.nextPage++ % BUFFER_PAGES;
        this.data.bytes.set(frame.subarray(done, done + piece), page * PAGE + offset);
        const more = done + piece < frame.length ? TX_MORE_DATA : 0;
        const flags = more | (done === 0 && frame.openChecksum ? TX_CSUM_BLANK : 0);
        const size = done === 0 ? frame.length : piece;
        slots.push(this.#txSlot(queue, slots.length, this.ref(page), offset, flags, size));
        done += piece;
        offset = 0;
      }
      ends.push(slots.length - 1);
    }
    queue.tx.put(slots, ends);
    queue.channels[0].notify();
  }

  async sendAndWait(index, frames) {
    this.send(index, frames);
    await this.#answered(this.queues[index].tx);
  }

  /** Posts empty buffers. */
  post(index, count) {
    const queue = this.queues[index];
    const slots = Array.from({ length: count }, (_, i) => {
      const page = this.nextBuffer++;
      queue.posted.push(page);
      return [(queue.rx.words[REQ_PROD] + i) & 0xffff, this.ref(page)];
    });
    queue.rx.put(slots);
    queue.channels.at(-1).notify();
  }

  /** The frames that came into the posted buffers; a frame with extra info takes a slot more. */
  received(index) {
    const { rx, posted } = this.queues[index];
    const frames = [];
    for (let i = 0; i < rx.answered; i++) {
      const at = rx.at((rx.start + i) >>> 0);
      const [first, second] = [rx.words[at], rx.words[at + 1]];
      const offset = (first >>> 16) & 0xffff;
      const [flags, status] = [second & 0xffff, second >> 16];
      const start = posted[i] * PAGE + offset;
      const frame = Object.assign(Buffer.from(this.data.bytes.slice(start, start + status)), {
        hash: undefined,
      });
      frames.push(frame);
      if ((flags & 8) === 0) continue;
      let extra;
      do {
        extra = rx.at((rx.start + ++i) >>> 0);
        if ((rx.words[extra] & 0xff) === EXTRA_HASH) frame.hash = rx.words[extra + 1];
      } while (((rx.words[extra] >>> 8) & 1) !== 0);
    }
    return frames;
  }

  /** Adds an address to the multicast list, or removes it. */
  async multicast(address, add) {
    this.multicastLater(address, add);
    await this.#answered(this.queues[0].tx);
  }

  multicastLater(address, add) {
    const bytes = Buffer.from(address.replaceAll(':', ''), 'hex');
    const extra = Uint8Array.from([add ? MCAST_ADD : MCAST_DEL, 0, ...bytes, 0, 0, 0, 0]);
    const [queue] = this.queues;
    const head = this.#txSlot(queue, 0, this.ref(0), 0, TX_EXTRA_INFO, 0);
    queue.tx.put([head, [...new Uint32Array(extra.buffer)]]);
    queue.channels[0].notify();
  }

  // ---- the control ring ------------------------------------------------------------------------------

  async setHash({ key, mapping, types }) {
    this.setKeyLater(key);
    await this.#asked();
    await this.#ask([SET_MAPPING_SIZE, mapping.length]);
    this.#page(Uint32Array.from(mapping));
    await this.#ask([SET_MAPPING, this.control.pageRef, mapping.length, 0]);
    await this.#ask([SET_ALGORITHM, 1]);
    await this.#ask([SET_FLAGS, types]);
  }

  setKeyLater(key) {
    this.#page(new Uint32Array(key.buffer, key.byteOffset, key.length / 4));
    this.askLater([SET_KEY, this.control.pageRef, key.length]);
  }

  async stage(queue, pages, access) {
    this.#list(pages, access === 'read' ? 1 : 0);
    await this.#ask([ADD_GREF, queue, this.control.pageRef, pages.length]);
  }

  async unstage(queue, pages) {
    this.unstageLater(queue, pages);
    await this.#asked();
  }

  unstageLater(queue, pages) {
    this.#list(pages, 0);
    this.askLater([DEL_GREF, queue, this.control.pageRef, pages.length]);
  }

  askLater([type, ...data]) {
    const { ring, channel } = this.control;
    const id = ring.words[REQ_PROD] & 0xffff;
    ring.put([[(id | (type << 16)) >>> 0, data[0] ?? 0, data[1] ?? 0, data[2] ?? 0]]);
    channel.notify();
  }

  async #ask(request) {
    this.askLater(request);
    await this.#asked();
  }

  async #asked() {
    const { ring } = this.control;
    await this.#answered(ring);
    const [head, status] = ring.words.subarray(ring.at((ring.words[RSP_PROD] - 1) >>> 0));
    if (status !== 0) throw new Error(`control request ${head >>> 16} was answered with ${status}`);
  }

  #list(pages, flags) {
    this.#page(Uint32Array.from(pages.flatMap((page) => [this.ref(page), flags])));
  }

  #page(words) {
    this.control.page.u32.fill(0);
    this.control.page.u32.set(words);
  }

  // ---- what is recorded ------------------------------------------------------------------------------

  /** Each allocation: its bytes, and the references of its pages. */
  memory() {
    const files = [{ file: 'data.pages', of: this.data, refs: this.refs }];
    for (const [index, { tx, rx }] of this.queues.entries()) {
      files.push({ file: `q${index}-tx.ring`, of: tx.pages, refs: [tx.ref] });
      files.push({ file: `q${index}-rx.ring`, of: rx.pages, refs: [rx.ref] });
    }
    if (this.control !== undefined) {
      const { ring, page, pageRef } = this.control;
      files.push({ file: 'control.ring', of: ring.pages, refs: [ring.ref] });
      files.push({ file: 'control.page', of: page, refs: [pageRef] });
    }
    return files.map(({ file, of, refs }) => ({ file, refs, bytes: Buffer.from(of.bytes) }));
  }

  queueSettings() {
    return this.queues.map(({ tx, rx, channels }) => ({
      txRingRef: tx.ref,
      rxRingRef: rx.ref,
      txPort: channels[0].port,
      rxPort: channels.at(-1).port,
      tx: tx.indices(),
      rx: rx.indices(),
    }));
  }

  controlSettings() {
    const { ring, channel } = this.control;
    return { ringRef: ring.ref, port: channel.port, ...ring.indices() };
  }

  async #answered(ring) {
    const end = performance.now() + 5000;
    while (ring.words[RSP_PROD] !== ring.words[REQ_PROD]) {
      if (performance.now() > end) throw new Error('a request was not answered');
      await this.settle();
    }
  }

  #txSlot({ tx }, place, ref, offset, flags, size) {
    const id = (tx.words[REQ_PROD] + place) & 0xff;
    return [ref, (offset | (flags << 16)) >>> 0, (id | (size << 16)) >>> 0];
  }

  #channel() {
    let channel;
    channel = this.xen.events.bindUnbound(0, () => channel.unmask());
    return channel;
  }
}
