import type { Port, PortIo, PortOptions } from '../../ports/port.js';
import type { EventChannel, SharedPages, Shares, Xen } from '../../xen/seam.js';
import type { ControlFront } from './control.js';
import type { FrontFeatures, QueueKeys } from './features.js';
import type { HashOracle } from './hash-oracle.js';
import type { QueueOptions } from './queue-options.js';
import { Xorshift } from './random.js';
import { RECEIVE_ARENA_BYTES, Receive } from './receive.js';
import { stageGrants, unstageGrants } from './staged.js';
import { Transmit } from './transmit.js';
import type { Violations } from './violations.js';

export interface FrontQueueOptions {
  readonly xen: Xen;
  readonly shares: Shares;
  readonly index: number;
  readonly backendDomid: number;
  readonly split: boolean;
  readonly violations: Violations;
  readonly features: FrontFeatures;
  readonly hash: HashOracle;
  readonly seed: number;
  readonly keepGrants: boolean;
  readonly inOrder: boolean;
  readonly ringStart: number;
  readonly frameBytesMax?: number | undefined;
  readonly buffersMax?: number | undefined;
  readonly onResponse?: ((frame: number, status: number, queue: number) => void) | undefined;
}

/** One queue of a frontend: a ring for each direction and their event channels, between the backend and the port. */
export class FrontQueue {
  readonly transmit: Transmit;
  readonly receive: Receive;
  readonly #options: FrontQueueOptions;
  #channels: EventChannel[] = [];
  #ringGrants: [SharedPages, number][] = [];
  #io: PortIo | undefined;
  /** Continues a pump that ended before its work was done, in the next turn of the event loop. */
  #deferred: Disposable | undefined;
  #running = false;

  constructor(options: FrontQueueOptions) {
    this.#options = options;
    const { xen, shares, backendDomid, violations, keepGrants, ringStart, split, index } = options;
    const common: QueueOptions = {
      ...{ shares, backendDomid, violations, keepGrants, ringStart, clock: xen.clock },
      random: new Xorshift(options.seed + index),
      notify: () => this.#channels[0]?.notify(),
    };
    const { frameBytesMax, buffersMax, onResponse, features, hash, inOrder } = options;
    this.transmit = new Transmit({
      ...common,
      inOrder,
      ...(onResponse && { onResponse: (frame, status) => onResponse(frame, status, index) }),
    });
    this.receive = new Receive({
      ...common,
      ...(frameBytesMax === undefined ? {} : { frameBytesMax }),
      ...(buffersMax === undefined ? {} : { buffersMax }),
      arena: xen.grants.arena(RECEIVE_ARENA_BYTES),
      features,
      hash,
      notify: () => this.#channels[split ? 1 : 0]?.notify(),
    });
    this.#bindChannels();
  }

  /** Grants the rings. Returns the keys of this queue for the store. */
  keys(): QueueKeys {
    const [txRingRef, rxRingRef] = [this.transmit.ringPage, this.receive.ringPage].map((page) => {
      const ref = page.grant(0, this.#options.backendDomid, 'write');
      this.#ringGrants.push([page, ref]);
      return ref;
    }) as [number, number];
    const ports = this.#channels.map((channel) => channel.port);
    return { txRingRef, rxRingRef, eventChannels: ports as [number] | [number, number] };
  }

  start(port: Port, options: Omit<PortOptions, 'onReadable'>): void {
    this.#io = port.open(
      { reads: this.transmit.reads, writes: this.receive.writes },
      { ...options, onReadable: () => this.#onReadable() },
    );
    this.#running = true;
    this.transmit.start(this.#io);
    this.receive.start(this.#io);
  }

  /** Has the backend map all buffers until `unstage`. @returns whether it did. */
  async stage(control: ControlFront): Promise<boolean> {
    const { index } = this.#options;
    const out = await stageGrants(control, index, this.transmit.grants.all(), 'read');
    return out && stageGrants(control, index, this.receive.grants.all(), 'write');
  }

  /** How many buffers there are. */
  get stageable(): number {
    return this.transmit.grants.pool.pages + this.receive.grants.pool.pages;
  }

  /** Makes the backend unmap the staged grants. @returns how many there were according to the backend. */
  async unstage(control: ControlFront): Promise<number> {
    const { index } = this.#options;
    const refs = [...this.transmit.grants.all(), ...this.receive.grants.all()];
    return unstageGrants(control, index, refs);
  }

  pump(): void {
    if (!this.#running) return;
    const moreOut = this.transmit.pump();
    const moreIn = this.receive.pump();
    if (moreOut || moreIn) this.#pumpLater();
  }

  release(): void {
    this.#running = false;
    this.#deferred?.[Symbol.dispose]();
    this.#io?.close();
    this.#io = undefined;
    for (const channel of this.#channels) channel.close();
    this.#channels = [];
    for (const [page, ref] of this.#ringGrants) page.end(ref);
    this.#ringGrants = [];
    this.transmit.dispose();
    this.receive.dispose();
  }

  #bindChannels(): void {
    const { xen, backendDomid, split } = this.#options;
    if (!split) {
      this.#channels = [xen.events.bindUnbound(backendDomid, () => this.#onEvent(0, true, true))];
      return;
    }
    this.#channels = [
      xen.events.bindUnbound(backendDomid, () => this.#onEvent(0, true, false)),
      xen.events.bindUnbound(backendDomid, () => this.#onEvent(1, false, true)),
    ];
  }

  #onEvent(channel: number, out: boolean, into: boolean): void {
    if (!this.#running) return;
    if (out) this.transmit.stats.events += 1;
    if (into) this.receive.stats.events += 1;
    const moreOut = out && this.transmit.pump();
    const moreIn = into && this.receive.pump();
    if (moreOut || moreIn) this.#pumpLater();
    this.#channels[channel]?.unmask();
  }

  #onReadable(): void {
    this.transmit.onReadable();
    if (this.#running && this.transmit.pump()) this.#pumpLater();
  }

  #pumpLater(): void {
    this.#deferred ??= this.#options.xen.clock.after(0, () => {
      this.#deferred = undefined;
      this.pump();
    });
  }
}
