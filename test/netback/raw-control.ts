import { CTRL_RING_SIZE } from '../../lib/protocol/control.js';
import {
  RING_HEADER_WORDS,
  RING_REQ_EVENT,
  RING_REQ_PROD,
  RING_RSP_EVENT,
  RING_RSP_PROD,
} from '../../lib/protocol/netif.js';
import type { EventChannel, SharedPages, Xen } from '../../lib/xen/seam.js';

const SLOT_WORDS = 4;
const MASK = CTRL_RING_SIZE - 1;

export interface RawResponse {
  readonly id: number;
  readonly type: number;
  readonly status: number;
  readonly data: number;
}

/** A control ring without checks, as RawGuest is for the other rings. */
export class RawControl {
  /** The pages that requests name. */
  readonly page: SharedPages;
  readonly ref: number;
  readonly keys: Record<string, string>;
  events = 0;
  readonly #ring: SharedPages;
  readonly #channel: EventChannel;

  /** @param start where the indices begin. */
  constructor(xen: Xen, start = 0) {
    this.#ring = xen.shares!.allocate(1);
    this.page = xen.shares!.allocate(1);
    this.ref = this.page.grant(0, 0, 'write');
    this.#channel = xen.events.bindUnbound(0, () => {
      this.events++;
      this.#channel.unmask();
    });
    const ring = this.words;
    ring[RING_REQ_PROD] = ring[RING_RSP_PROD] = start;
    ring[RING_REQ_EVENT] = ring[RING_RSP_EVENT] = start + 1;
    this.keys = {
      'ctrl-ring-ref': `${this.#ring.grant(0, 0, 'write')}`,
      'event-channel-ctrl': `${this.#channel.port}`,
    };
  }

  get words(): Uint32Array {
    return this.#ring.u32;
  }

  get responded(): number {
    return this.words[RING_RSP_PROD] as number;
  }

  /** Writes requests and publishes them as one. @returns the index of the first. */
  ask(...requests: readonly (readonly number[])[]): number {
    const ring = this.words;
    const first = ring[RING_REQ_PROD] as number;
    requests.forEach(([type, ...data], i) => {
      const at = RING_HEADER_WORDS + ((first + i) & MASK) * SLOT_WORDS;
      ring.set(
        [(((first + i) & 0xffff) | (type! << 16)) >>> 0, data[0] ?? 0, data[1] ?? 0, data[2] ?? 0],
        at,
      );
    });
    ring[RING_REQ_PROD] = first + requests.length;
    this.#channel.notify();
    return first;
  }

  notify(): void {
    this.#channel.notify();
  }

  /** Responses [from, rsp_prod). */
  responses(from: number): RawResponse[] {
    const responses: RawResponse[] = [];
    for (let i = from; i !== this.responded; i = (i + 1) >>> 0) {
      const [head, status, data] = this.words.subarray(RING_HEADER_WORDS + (i & MASK) * SLOT_WORDS);
      responses.push({ id: head! & 0xffff, type: head! >>> 16, status: status!, data: data! });
    }
    return responses;
  }
}
