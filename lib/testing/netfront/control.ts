import { VifdError } from '../../errors.js';
import { CTRL_REQUEST_WORDS, CTRL_RING_SIZE, CTRL_SUCCESS } from '../../protocol/control.js';
import type { Clock, EventChannel, Events, SharedPages, Shares } from '../../xen/seam.js';
import { FrontRing, RESPONSES_IMPOSSIBLE } from './ring.js';
import type { ViolationKind, Violations } from './violations.js';

/** How long Windows waits for a response before it gives up (xenvif, controller.c). */
export const CONTROL_TIMEOUT_MS = 5000;

/** Options of a ControlFront. */
export interface ControlFrontOptions {
  /** Memory of the guest, for the ring. */
  readonly shares: Shares;
  /** Event channels of the guest. */
  readonly events: Events;
  /** The domain to which the ring is granted. */
  readonly backendDomid: number;
  /** Measures the time without a response. */
  readonly clock: Clock;
  /** Where to record what the backend does wrong. */
  readonly violations: Violations;
  /** Where the ring's indices start. */
  readonly ringStart: number;
  /** How long to wait for a response. Default: CONTROL_TIMEOUT_MS. */
  readonly timeoutMs?: number | undefined;
}

/** A response of the backend (xen_netif_ctrl_response of netif.h). */
export interface ControlResponse {
  /** CTRL_*. */
  readonly status: number;
  /** A value that depends on the type of the request. */
  readonly data: number;
}

interface Waiting {
  readonly id: number;
  readonly type: number;
  readonly timer: Disposable;
  readonly settle: (response: ControlResponse) => void;
}

/** The guest's end of the control ring: sends requests, and checks that each gets one response. */
export class ControlFront {
  /** Pages that a request can name. */
  readonly page: SharedPages;
  readonly #options: ControlFrontOptions;
  readonly #ringPage: SharedPages;
  readonly #ring: FrontRing;
  readonly #ringRef: number;
  readonly #channel: EventChannel;
  /** The requests without a response, in the order of sending, in which the backend responds. */
  readonly #waiting: Waiting[] = [];
  #nextId = 0x7ff0;
  #pageFree: Promise<unknown> = Promise.resolve();
  #ended = false;

  /** @param options the Xen, the backend's domain and how long to wait. */
  constructor(options: ControlFrontOptions) {
    const { shares, backendDomid, ringStart } = options;
    this.#options = options;
    this.#ringPage = shares.allocate(1);
    this.page = shares.allocate(1);
    this.#ring = new FrontRing({
      page: this.#ringPage,
      size: CTRL_RING_SIZE,
      slotWords: CTRL_REQUEST_WORDS,
      start: ringStart,
    });
    this.#ringRef = this.#ringPage.grant(0, backendDomid, 'write');
    this.#channel = options.events.bindUnbound(backendDomid, () => this.#onEvent());
  }

  /** Returns the keys that the store must have for it. */
  get keys(): ReadonlyArray<readonly [string, number]> {
    return [
      ['ctrl-ring-ref', this.#ringRef],
      ['event-channel-ctrl', this.#channel.port],
    ];
  }

  /** The number of requests without a response. */
  get outstanding(): number {
    return this.#waiting.length;
  }

  /**
   * Sends a request.
   * @throws VifdError ERR_STATE if the backend does not respond in time.
   */
  request(type: number, first = 0, second = 0, third = 0): Promise<ControlResponse> {
    if (this.#ended) return Promise.reject(new VifdError('ERR_STATE', 'the control ring is gone'));
    this.#ring.refresh();
    if (this.#ring.free === 0) return Promise.reject(new VifdError('ERR_STATE', 'the control ring is full'));
    const id = this.#nextId;
    this.#nextId = (id + 1) & 0xffff;
    const at = this.#ring.at(this.#ring.produce());
    this.#ring.words.set([id | (type << 16), first, second, third], at);
    const response = this.#responseTo(id, type);
    if (this.#ring.push()) this.#channel.notify();
    return response;
  }

  /** As `request`, with `words` in a page that the backend may use until it responds. */
  requestWithPage(
    type: number,
    words: ArrayLike<number>,
    data: (ref: number) => readonly [number, number?, number?],
  ): Promise<ControlResponse> {
    // There is one page, so requests with a page wait for each other.
    const response = this.#pageFree.then(() => this.#requestWithPage(type, words, data));
    this.#pageFree = response.catch(() => undefined);
    return response;
  }

  async #requestWithPage(
    type: number,
    words: ArrayLike<number>,
    data: (ref: number) => readonly [number, number?, number?],
  ): Promise<ControlResponse> {
    const { backendDomid } = this.#options;
    this.page.u32.fill(0);
    this.page.u32.set(words);
    const ref = this.page.grant(0, backendDomid, 'write');
    try {
      return await this.request(type, ...data(ref));
    } finally {
      if (!this.page.end(ref)) this.#violation('grant-in-use', 0, `reference ${ref}`);
    }
  }

  /** Ends the ring. Requests without a response get neither a response nor an error. Idempotent. */
  dispose(): void {
    if (this.#ended) return;
    this.#ended = true;
    // The callers get neither a response nor an error from now on.
    for (const { timer } of this.#waiting.splice(0)) timer[Symbol.dispose]();
    this.#channel.close();
    this.#ringPage.end(this.#ringRef);
    this.#ringPage[Symbol.dispose]();
    this.page[Symbol.dispose]();
  }

  #responseTo(id: number, type: number): Promise<ControlResponse> {
    const { clock, timeoutMs = CONTROL_TIMEOUT_MS } = this.#options;
    return new Promise((resolve, reject) => {
      const late = () =>
        reject(new VifdError('ERR_STATE', `control request ${type} got no response within ${timeoutMs} ms`));
      const timer = clock.after(timeoutMs, late);
      this.#waiting.push({ id, type, timer, settle: resolve });
    });
  }

  #onEvent(): void {
    if (this.#ended) return;
    this.#ring.refresh();
    do this.#collect();
    while (this.#ring.arm() && this.#ring.responses() !== RESPONSES_IMPOSSIBLE);
    this.#channel.unmask();
  }

  #collect(): void {
    const ring = this.#ring;
    const count = ring.responses();
    if (count === RESPONSES_IMPOSSIBLE) {
      const complaint = ring.complaint();
      if (complaint !== undefined) this.#violation('responses-beyond-requests', 0, complaint);
      return;
    }
    for (let i = 0; i < count; i++) this.#take(ring.consumed + i);
    ring.consume(count);
  }

  #take(index: number): void {
    const [head, status, data] = this.#ring.words.subarray(this.#ring.at(index));
    const asked = this.#waiting.shift();
    const expected = asked === undefined ? undefined : (asked.id | (asked.type << 16)) >>> 0;
    if (head !== expected)
      this.#violation('wrong-id', this.#ring.slot(index), `id and type ${head}, the request had ${expected}`);
    asked?.timer[Symbol.dispose]();
    asked?.settle({ status: status as number, data: data as number });
  }

  #violation(kind: ViolationKind, slot: number, detail: string): void {
    this.#options.violations.add(kind, 'control', slot, detail);
  }
}

/** @returns whether the request succeeded. */
export function succeeded({ status }: ControlResponse): boolean {
  return status === CTRL_SUCCESS;
}
