import {
  RING_HEADER_WORDS,
  RING_REQ_EVENT,
  RING_REQ_PROD,
  RING_RSP_EVENT,
  RING_RSP_PROD,
  RX_SLOT_WORDS,
  TX_SLOT_WORDS,
} from '../../lib/protocol/netif.js';
import { backendVifPath, frontendVifPath } from '../../lib/protocol/xenbus.js';
import type { EventChannel, SharedPages, Xen } from '../../lib/xen/seam.js';

const PAGES = 256;

export interface TxSlot {
  readonly ref?: number;
  readonly page?: number;
  readonly offset?: number;
  readonly flags?: number;
  readonly id?: number;
  readonly size?: number;
  /** The slot's words, for extras and malformed requests. */
  readonly words?: readonly [number, number, number];
}

/** A frontend without checks: writes the requests of a test into its rings, and returns the responses. */
export class RawGuest {
  readonly xen: Xen;
  readonly domid: number;
  readonly pages: SharedPages;
  readonly #tx: SharedPages;
  readonly #rx: SharedPages;
  readonly #refs: number[] = [];
  /** For both rings, or one for each. */
  #channels: EventChannel[] = [];
  events = 0;
  readonly #backendDomid: number;

  constructor(xen: Xen, backendDomid = 0) {
    this.xen = xen;
    this.#backendDomid = backendDomid;
    this.domid = xen.domid;
    this.pages = xen.shares!.allocate(PAGES);
    this.#tx = xen.shares!.allocate(1);
    this.#rx = xen.shares!.allocate(1);
    for (let page = 0; page < PAGES; page++) this.#refs.push(this.pages.grant(page, backendDomid, 'write'));
    for (const ring of [this.#tx, this.#rx]) {
      ring.u32[RING_REQ_EVENT] = 1;
      ring.u32[RING_RSP_EVENT] = 1;
    }
  }

  /** Grants the rings and opens channels for the backend. @returns the keys that a frontend writes into the store for them. */
  offer(channels: 1 | 2 = 1): Record<string, string> {
    this.#channels = Array.from({ length: channels }, (_, i) =>
      this.xen.events.bindUnbound(this.#backendDomid, () => {
        this.events++;
        this.#channels[i]?.unmask();
      }),
    );
    const [tx, rx] = this.#channels.map(({ port }) => `${port}`);
    return {
      'tx-ring-ref': `${this.#tx.grant(0, this.#backendDomid, 'write')}`,
      'rx-ring-ref': `${this.#rx.grant(0, this.#backendDomid, 'write')}`,
      ...(rx === undefined ? { 'event-channel': tx } : { 'event-channel-tx': tx, 'event-channel-rx': rx }),
    };
  }

  /** Writes the store nodes of both ends, as a toolstack and a connected guest do. */
  async connect(toolstack: Xen, keys: Record<string, string> = {}): Promise<void> {
    const back = backendVifPath(this.#backendDomid, this.domid, 0);
    const front = frontendVifPath(this.domid, 0);
    const frontend: Record<string, string> = {
      backend: back,
      ...this.offer(),
      'request-rx-copy': '1',
      'feature-sg': '1',
      'feature-gso-tcpv4': '1',
      'feature-gso-tcpv6': '1',
      'feature-ipv6-csum-offload': '1',
      ...keys,
      state: '4',
    };
    const backend = {
      frontend: front,
      'frontend-id': `${this.domid}`,
      online: '1',
      mac: '00:16:3e:00:00:07',
      state: '2',
    };
    await toolstack.store.transaction(async (view) => {
      for (const [key, value] of Object.entries(frontend)) await view.write(`${front}/${key}`, value);
      for (const [key, value] of Object.entries(backend)) await view.write(`${back}/${key}`, value);
    });
  }

  ref(page: number): number {
    return this.#refs[page];
  }

  get tx(): Uint32Array {
    return this.#tx.u32;
  }

  get rx(): Uint32Array {
    return this.#rx.u32;
  }

  /** Begins both rings at this index. Call it before `connect`. */
  beginAt(index: number): void {
    for (const ring of [this.tx, this.rx]) {
      ring[RING_REQ_PROD] = index;
      ring[RING_RSP_PROD] = index;
      ring[RING_REQ_EVENT] = index + 1;
      ring[RING_RSP_EVENT] = index + 1;
    }
  }

  /** Writes requests and publishes them together. */
  send(slots: readonly TxSlot[]): void {
    const ring = this.tx;
    let index = ring[RING_REQ_PROD];
    for (const slot of slots) {
      const at = RING_HEADER_WORDS + (index & 255) * TX_SLOT_WORDS;
      const { ref = this.ref(slot.page ?? 0), offset = 0, flags = 0, id = index & 0xff, size = 60 } = slot;
      ring.set(slot.words ?? [ref, (offset | (flags << 16)) >>> 0, (id | (size << 16)) >>> 0], at);
      index = (index + 1) >>> 0;
    }
    ring[RING_REQ_PROD] = index;
    this.#channels[0]?.notify();
  }

  /** Posts receive buffers. `quietly`: without an event, as a frontend without feature-rx-notify. */
  post(refs: readonly number[], quietly = false): void {
    const ring = this.rx;
    let index = ring[RING_REQ_PROD];
    for (const ref of refs) {
      ring.set([index & 0xff, ref], RING_HEADER_WORDS + (index & 255) * RX_SLOT_WORDS);
      index = (index + 1) >>> 0;
    }
    ring[RING_REQ_PROD] = index;
    if (!quietly) this.#channels.at(-1)?.notify();
  }

  notify(): void {
    for (const channel of this.#channels) channel.notify();
  }

  /** Responses [from, rsp_prod) of the TX ring. */
  txResponses(from = 0): Array<{ id: number; status: number }> {
    const responses: Array<{ id: number; status: number }> = [];
    for (let i = from; i !== this.tx[RING_RSP_PROD]; i = (i + 1) >>> 0) {
      const word = this.tx[RING_HEADER_WORDS + (i & 255) * TX_SLOT_WORDS];
      responses.push({ id: word & 0xffff, status: word >> 16 });
    }
    return responses;
  }

  rxResponses(from = 0): Array<{ id: number; offset: number; flags: number; status: number }> {
    const responses: Array<{ id: number; offset: number; flags: number; status: number }> = [];
    for (let i = from; i !== this.rx[RING_RSP_PROD]; i = (i + 1) >>> 0) {
      const at = RING_HEADER_WORDS + (i & 255) * RX_SLOT_WORDS;
      const [first, second] = [this.rx[at], this.rx[at + 1]];
      responses.push({
        id: first & 0xffff,
        offset: first >>> 16,
        flags: second & 0xffff,
        status: second >> 16,
      });
    }
    return responses;
  }
}
