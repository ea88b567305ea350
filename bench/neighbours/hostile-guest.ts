import { setTimeout as sleep } from 'node:timers/promises';
import { CTRL_REQUEST_WORDS, CTRL_RING_SIZE } from '../../lib/protocol/control.js';
import {
  RING_HEADER_WORDS,
  RING_PAGE_BYTES,
  RING_REQ_EVENT,
  RING_REQ_PROD,
  RING_RSP_EVENT,
  RING_RSP_PROD,
  RX_RING_SIZE,
  RX_SLOT_WORDS,
  TX_RING_SIZE,
  TX_SLOT_WORDS,
} from '../../lib/protocol/netif.js';
import { frontendVifPath, XenbusState } from '../../lib/protocol/xenbus.js';
import { type EventChannel, PAGE_SIZE, type SharedPages, type Xen } from '../../lib/xen/seam.js';

const PAGE_WORDS = RING_PAGE_BYTES / 4;
/** Pages that it grants for payload, keys and lists of grants. */
export const DATA_PAGES = 600;
const LOOK_EVERY_MS = 5;
const CONNECT_MS = 20_000;
/** An rsp_event for a frontend that wants no event: 4 billion responses come before the one with this index. */
const NEVER = 0xffff_0000;

/** A shared ring as its guest sees it: words in a page that the guest may write at any time. */
export class HostileRing {
  readonly words: Uint32Array;
  readonly #size: number;
  readonly #slotWords: number;

  constructor(page: Uint32Array, size: number, slotWords: number) {
    this.words = page;
    this.#size = size;
    this.#slotWords = slotWords;
    this.reset();
  }

  /** As SHARED_RING_INIT, but without an event for responses: the guest polls. */
  reset(): void {
    this.words.fill(0);
    this.words[RING_REQ_EVENT] = 1;
    this.words[RING_RSP_EVENT] = NEVER;
  }

  get produced(): number {
    return this.words[RING_REQ_PROD];
  }

  get responded(): number {
    return Atomics.load(this.words, RING_RSP_PROD);
  }

  /** Slots that are free for requests. */
  get free(): number {
    return this.#size - ((this.produced - this.responded) >>> 0);
  }

  /** Writes a request at `index`, which `publish` shows to the backend. */
  put(index: number, ...request: readonly number[]): void {
    this.words.set(request, RING_HEADER_WORDS + (index & (this.#size - 1)) * this.#slotWords);
  }

  publish(reqProd: number): void {
    Atomics.store(this.words, RING_REQ_PROD, reqProd);
  }
}

/** One queue: both rings and their event channel. */
export interface HostileQueue {
  readonly tx: HostileRing;
  readonly rx: HostileRing;
  readonly channel: EventChannel;
}

export interface HostileOptions {
  readonly xen: Xen;
  readonly backendDomid: number;
  readonly queues: number;
  /** Default: the guest ignores events. */
  readonly onEvent?: (queue: HostileQueue) => void;
}

/** A guest that connects as other guests do. Then it may write into its rings what no driver writes. */
export class HostileGuest {
  readonly xen: Xen;
  readonly queues: readonly HostileQueue[];
  readonly control: HostileRing;
  readonly controlChannel: EventChannel;
  readonly #options: HostileOptions;
  readonly #pages: SharedPages;
  readonly #rings: SharedPages;
  readonly #keys: Record<string, string>;
  readonly #refs: readonly number[];
  #backendPath = '';

  constructor(options: HostileOptions) {
    const { xen, backendDomid, queues } = options;
    if (xen.shares === undefined) throw new Error('a guest needs memory to grant');
    this.#options = options;
    this.xen = xen;
    this.#pages = xen.shares.allocate(DATA_PAGES);
    this.#refs = Array.from({ length: DATA_PAGES }, (_, i) => this.#pages.grant(i, backendDomid, 'write'));
    this.#rings = xen.shares.allocate(1 + 2 * queues);
    this.control = this.#ring(0, CTRL_RING_SIZE, CTRL_REQUEST_WORDS);
    this.controlChannel = this.#bind();
    this.queues = Array.from({ length: queues }, (_, i) => this.#queue(i));
    this.#keys = {
      'request-rx-copy': '1',
      'feature-sg': '1',
      'feature-gso-tcpv4': '1',
      'feature-gso-tcpv6': '1',
      'feature-ipv6-csum-offload': '1',
      'feature-rx-notify': '1',
      'multi-queue-num-queues': `${queues}`,
      'ctrl-ring-ref': `${this.#grantRing(0)}`,
      'event-channel-ctrl': `${this.controlChannel.port}`,
      ...Object.assign({}, ...this.queues.map((queue, i) => this.#keysOf(queue, i))),
    };
  }

  /** Resolves when the backend is connected. */
  async connect(): Promise<void> {
    const { store, domid } = this.xen;
    const backendPath = await store.read(`${frontendVifPath(domid, 0)}/backend`);
    if (backendPath === undefined) throw new Error(`vif${domid}.0 is not in the store: create it first`);
    this.#backendPath = backendPath;
    await this.#backendReaches(XenbusState.InitWait);
    await Promise.all(Object.entries(this.#keys).map(([key, value]) => this.write(key, value)));
    await this.say(XenbusState.Connected);
    await this.#backendReaches(XenbusState.Connected);
  }

  /** @returns the grant reference of one of its pages. */
  ref(page: number): number {
    return this.#refs[page];
  }

  bytes(page: number): Uint8Array {
    return this.#pages.bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  }

  words(page: number): Uint32Array {
    return this.#pages.u32.subarray(page * PAGE_WORDS, (page + 1) * PAGE_WORDS);
  }

  /** Writes below its frontend's node. */
  write(key: string, value: string): Promise<void> {
    return this.xen.store.write(`${frontendVifPath(this.xen.domid, 0)}/${key}`, value);
  }

  say(state: XenbusState): Promise<void> {
    return this.write('state', `${state}`);
  }

  /** Reads the backend's state up to `looks` times. @returns whether it was `state`. */
  async sees(state: XenbusState, looks: number): Promise<boolean> {
    for (let look = 0; look < looks; look++)
      if ((await this.xen.store.read(`${this.#backendPath}/state`)) === `${state}`) return true;
    return false;
  }

  async #backendReaches(state: XenbusState): Promise<void> {
    const deadline = performance.now() + CONNECT_MS;
    while (!(await this.sees(state, 1))) {
      if (performance.now() > deadline)
        throw new Error(
          `${this.#backendPath}/state is not ${state} after ${CONNECT_MS} ms: look into vifd's log`,
        );
      await sleep(LOOK_EVERY_MS);
    }
  }

  #ring(page: number, size: number, slotWords: number): HostileRing {
    const words = this.#rings.u32.subarray(page * PAGE_WORDS, (page + 1) * PAGE_WORDS);
    return new HostileRing(words, size, slotWords);
  }

  #grantRing(page: number): number {
    return this.#rings.grant(page, this.#options.backendDomid, 'write');
  }

  #queue(index: number): HostileQueue {
    const queue: HostileQueue = {
      tx: this.#ring(1 + 2 * index, TX_RING_SIZE, TX_SLOT_WORDS),
      rx: this.#ring(2 + 2 * index, RX_RING_SIZE, RX_SLOT_WORDS),
      channel: this.#bind(() => this.#options.onEvent?.(queue)),
    };
    return queue;
  }

  #bind(onEvent: () => void = () => undefined): EventChannel {
    const channel = this.xen.events.bindUnbound(this.#options.backendDomid, () => {
      onEvent();
      channel.unmask();
    });
    return channel;
  }

  #keysOf({ channel }: HostileQueue, index: number): Record<string, string> {
    const folder = this.#options.queues === 1 ? '' : `queue-${index}/`;
    return {
      [`${folder}tx-ring-ref`]: `${this.#grantRing(1 + 2 * index)}`,
      [`${folder}rx-ring-ref`]: `${this.#grantRing(2 + 2 * index)}`,
      [`${folder}event-channel`]: `${channel.port}`,
    };
  }
}
