/**
 * A backend of a hundred lines that sends every frame back to where it came from. For tests of the frontend alone;
 * it trusts the guest.
 */

import { BackRing } from '../../lib/netback/ring/back-ring.js';
import {
  RX_FLAG_CSUM_BLANK,
  RX_FLAG_DATA_VALIDATED,
  TX_FLAG_CSUM_BLANK,
  TX_FLAG_DATA_VALIDATED,
} from '../../lib/protocol/netif.js';
import { RX_RING, TX_RING } from '../../lib/protocol/ring.js';
import { respondRx, rxSlotAfter, rxSlotsNeeded } from '../../lib/protocol/rx.js';
import { parseTx, TxFrames } from '../../lib/protocol/tx.js';
import { backendVifPath, frontendVifPath } from '../../lib/protocol/xenbus.js';
import {
  type Arena,
  type EventChannel,
  type GrantBatch,
  type Mapping,
  OP_ARENA,
  OP_REF,
  OP_SPAN,
  OP_STATUS,
  OP_WORDS,
  OPS_COUNT,
  OPS_HEADER_WORDS,
  PAGE_SIZE,
  type Xen,
} from '../../lib/xen/seam.js';

interface Held {
  readonly bytes: Uint8Array;
  readonly flags: number;
  /** GSO_TYPE_* | segment size << 16. */
  readonly gso: number;
}

const FEATURES = {
  'feature-rx-copy': '1',
  'feature-sg': '1',
  'feature-gso-tcpv4': '1',
  'feature-gso-tcpv6': '1',
  'feature-ipv6-csum-offload': '1',
};

export class LoopBackend {
  readonly backendPath: string;
  readonly frontendPath: string;
  /** Grant statuses other than 0. */
  failures = 0;
  framesLooped = 0;
  readonly #xen: Xen;
  readonly #domid: number;
  readonly #arena: Arena;
  readonly #batch: GrantBatch;
  #mapping: Mapping | undefined;
  #channels: EventChannel[] = [];
  #tx!: BackRing;
  #rx!: BackRing;
  readonly #held: Held[] = [];

  constructor(xen: Xen, domid: number, handle: number) {
    this.#xen = xen;
    this.#domid = domid;
    this.backendPath = backendVifPath(xen.domid, domid, handle);
    this.frontendPath = frontendVifPath(domid, handle);
    this.#arena = xen.grants.arena(32 * PAGE_SIZE);
    this.#batch = xen.grants.batch({ domid, capacity: 32, arena: this.#arena });
  }

  async announce(more: Record<string, string> = {}): Promise<void> {
    for (const [key, value] of Object.entries({ ...FEATURES, ...more })) {
      await this.#xen.store.write(`${this.backendPath}/${key}`, value);
    }
    await this.state(2);
  }

  async state(state: number): Promise<void> {
    await this.#xen.store.write(`${this.backendPath}/state`, String(state));
  }

  frontendState(): Promise<string | undefined> {
    return this.#xen.store.read(`${this.frontendPath}/state`);
  }

  /** Maps, binds, continues from rsp_prod and looks at both rings. */
  async attach(): Promise<void> {
    const number = async (key: string) => {
      const text = await this.#xen.store.read(`${this.frontendPath}/${key}`);
      return text === undefined ? undefined : Number(text);
    };
    const refs = [(await number('tx-ring-ref'))!, (await number('rx-ring-ref'))!];
    const combined = await number('event-channel');
    const ports =
      combined === undefined
        ? [(await number('event-channel-tx'))!, (await number('event-channel-rx'))!]
        : [combined];
    this.#mapping = this.#xen.grants.map(this.#domid, refs, 'write');
    this.#tx = new BackRing(this.#mapping.page(0), TX_RING);
    this.#rx = new BackRing(this.#mapping.page(1), RX_RING);
    if (!this.#tx.attach() || !this.#rx.attach()) throw new Error('the rings are broken');
    this.#channels = ports.map((port, index) =>
      this.#xen.events.bind(this.#domid, port, () => {
        this.serve();
        this.#channels[index]?.unmask();
      }),
    );
    this.serve();
    for (const channel of this.#channels) channel.notify();
  }

  detach(): void {
    for (const channel of this.#channels) channel.close();
    this.#mapping?.unmap();
    this.#batch[Symbol.dispose]();
  }

  serve(): void {
    while (this.#takeFrames() || this.#tx.arm()) this.#giveFrames();
    do this.#giveFrames();
    while (this.#rx.arm() && this.#held.length > 0);
  }

  #takeFrames(): boolean {
    const waiting = this.#tx.waiting();
    if (waiting < 0) throw new Error('the ring of requests is broken');
    if (waiting === 0) return false;
    const slots = new Uint32Array(waiting * 3);
    const frames = new TxFrames(waiting);
    this.#tx.copy(waiting, slots);
    parseTx(slots, waiting, true, frames);
    if (frames.fault !== undefined) throw new Error(frames.fault);
    for (let frame = 0; frame < frames.count; frame++) this.#held.push(this.#copyIn(slots, frames, frame));
    this.#tx.take(frames.slots);
    if (this.#tx.publish(frames.responses, frames.slots)) this.#channels[0]?.notify();
    return true;
  }

  #copyIn(slots: Uint32Array, frames: TxFrames, frame: number): Held {
    const first = frames.firstSlot(frame);
    const data = first + 1 + frames.extraCount(frame);
    let bytes = 0;
    let ops = 0;
    for (let slot = first; slot < first + frames.slotCount(frame); slot++) {
      const length = slots[slot * 3 + 2]! >>> 16;
      if ((slot > first && slot < data) || length === 0) continue;
      this.#op(ops++, slots[slot * 3]!, slots[slot * 3 + 1]! & 0xffff, length, bytes);
      bytes += length;
    }
    this.#run(ops, () => this.#batch.copyFromGuest());
    const txFlags = frames.flags(frame);
    const flags =
      ((txFlags & TX_FLAG_CSUM_BLANK) !== 0 ? RX_FLAG_CSUM_BLANK : 0) |
      ((txFlags & TX_FLAG_DATA_VALIDATED) !== 0 ? RX_FLAG_DATA_VALIDATED : 0);
    return {
      bytes: this.#arena.bytes.slice(0, bytes),
      flags,
      gso: frames.gso(frame),
    };
  }

  #giveFrames(): void {
    let published = false;
    for (let held = this.#held[0]; held !== undefined; held = this.#held[0]) {
      const needed = rxSlotsNeeded(held.bytes.length, held.gso);
      if (this.#rx.waiting() < needed) break;
      this.#held.shift();
      const requests = new Uint32Array(needed * 2);
      const responses = new Uint32Array(needed * 2);
      this.#rx.copy(needed, requests);
      this.#arena.bytes.set(held.bytes);
      const chunks = Math.ceil(held.bytes.length / PAGE_SIZE);
      let slot = 0;
      for (let chunk = 0; chunk < chunks; chunk++) {
        const from = chunk * PAGE_SIZE;
        this.#op(chunk, requests[slot * 2 + 1]!, 0, Math.min(PAGE_SIZE, held.bytes.length - from), from);
        slot = rxSlotAfter(slot, 0, held.gso);
      }
      this.#run(chunks, () => this.#batch.copyToGuest());
      respondRx(requests, 0, held.bytes.length, held.flags, held.gso, responses);
      this.#rx.take(needed);
      published = this.#rx.publish(responses, needed) || published;
      this.framesLooped += 1;
    }
    if (published) this.#channels.at(-1)?.notify();
  }

  #op(op: number, ref: number, offset: number, length: number, arena: number): void {
    const at = OPS_HEADER_WORDS + op * OP_WORDS;
    this.#batch.ops[at + OP_REF] = ref;
    this.#batch.ops[at + OP_SPAN] = offset | (length << 16);
    this.#batch.ops[at + OP_ARENA] = arena;
  }

  #run(ops: number, copy: () => void): void {
    this.#batch.ops[OPS_COUNT] = ops;
    copy();
    for (let op = 0; op < ops; op++) {
      if (this.#batch.ops[OPS_HEADER_WORDS + op * OP_WORDS + OP_STATUS] !== 0) this.failures += 1;
    }
  }
}
