import { VifdError } from '../../errors.js';
import { createVif, FramePort, Netfront } from '../netfront/index.js';
import { ModelHypervisor, type ModelOptions } from './hypervisor.js';
import type { ModelXen } from './xen.js';

/** The domain of a guest that names none; the next one has the next number. */
const FIRST_DOMID = 1;
const CONNECT_MS = 5000;
const RECEIVED_MAX = 1024;

/** Options of `Model.addGuest`. */
export interface ModelGuestOptions {
  /** The guest's domain, 1 to 32751. Default: the first number that no guest has had. */
  readonly domid?: number;
  /** The MAC address of its vif, as 00:16:3e:00:00:01. Default: one that ends with the domain's number. */
  readonly mac?: string;
  /** The bridge that the toolstack names (`Vif.bridge`). Default: none. */
  readonly bridge?: string;
  /** The MTU that the toolstack wants, in bytes (`Vif.mtu`). Default: none. */
  readonly mtu?: number;
  /** Called with each frame that the guest receives, in place of `receive`. The bytes change when it has returned. */
  readonly onFrame?: (frame: Uint8Array) => void;
}

/**
 * Makes a hypervisor in this process with a dom0, to which a program adds guests: a world for tests, which needs neither Xen nor root. Events
 * arrive by themselves and the clock is the machine's, unless `autorun` is false: then both move only by `settle` and `advance`, and a test is
 * deterministic.
 */
export function createModel(options: ModelOptions = {}): Model {
  return new Model(new ModelHypervisor({ autorun: true, ...options }));
}

/** A hypervisor with a dom0 and guests, all in this process. Made by `createModel`. */
export class Model implements AsyncDisposable {
  /** Everything below: other domains, faults, and the store as a toolstack uses it. */
  readonly hypervisor: ModelHypervisor;
  /** dom0. Pass it to `Netback.open`. */
  readonly xen: ModelXen;
  readonly #guests: ModelXen[] = [];
  #nextDomid = FIRST_DOMID;

  /** @param hypervisor the one to which guests are added. */
  constructor(hypervisor: ModelHypervisor) {
    this.hypervisor = hypervisor;
    this.xen = hypervisor.open(0);
  }

  /**
   * Adds a guest with one vif, `vifDOMID.0`. Resolves when a backend on `xen` has connected it, so open the `Netback` first, or do not await
   * before that.
   * @throws VifdError ERR_ARGUMENT for a `domid` that is none; ERR_STATE if no backend connects the guest within 5 s of the model's time.
   */
  async addGuest(options: ModelGuestOptions = {}): Promise<ModelGuest> {
    const { domid = this.#nextDomid, mac = macOf(domid), bridge, mtu, onFrame } = options;
    const xen = this.hypervisor.open(domid);
    this.#guests.push(xen);
    this.#nextDomid = Math.max(this.#nextDomid, domid + 1);
    const vif = { domid, handle: 0, mac };
    await createVif(this.xen.store, {
      ...vif,
      ...(bridge === undefined ? {} : { bridge }),
      ...(mtu === undefined ? {} : { mtu }),
    });
    return ModelGuest.connect(xen, mac, onFrame);
  }

  /**
   * Without `autorun`, runs events, watches and due timers until none waits. With `autorun` it waits until no event or watch waits; frames may
   * still be under way, since it does not wait for files, sockets or the machine's timers.
   * @throws VifdError ERR_STATE if they have no end; and any error that one of them throws.
   */
  settle(): Promise<void> {
    return this.hypervisor.settle();
  }

  /** Lets `ms` milliseconds of virtual time pass. @throws VifdError ERR_STATE with `autorun`, where the clock is the machine's. */
  advance(ms: number): Promise<void> {
    return this.hypervisor.advance(ms);
  }

  /** Ends all domains at once, as a power cut does. Idempotent. Dispose of the `Netback` before. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const xen of [...this.#guests, this.xen]) this.hypervisor.kill(xen);
  }
}

/** A guest of a `Model` with one connected vif. */
export class ModelGuest {
  /** Its domain. */
  readonly xen: ModelXen;
  /** The name of its vif in `Netback.vifs`. */
  readonly id: `vif${number}.${number}`;
  /** The MAC address of its vif. */
  readonly mac: string;
  /** Its end of the vif: what the backend offered, statistics, and the violations that it found. */
  readonly front: Netfront;
  /** Copies of the frames that the guest has received and `receive` has not returned, at most 1024: more are only counted (`missed`). */
  readonly received: Uint8Array[];
  readonly #inbox: Inbox;
  readonly #port: FramePort;

  private constructor(xen: ModelXen, mac: string, front: Netfront, port: FramePort, inbox: Inbox) {
    this.xen = xen;
    this.id = `vif${xen.domid}.0`;
    this.mac = mac;
    this.front = front;
    this.received = inbox.frames;
    this.#port = port;
    this.#inbox = inbox;
  }

  /** @internal */
  static async connect(
    xen: ModelXen,
    mac: string,
    onFrame?: (frame: Uint8Array) => void,
  ): Promise<ModelGuest> {
    const inbox = new Inbox();
    const port = new FramePort({ onFrame: onFrame ?? ((frame) => inbox.add(frame)) });
    const stop = new AbortController();
    using _timer = xen.clock.after(CONNECT_MS, () => {
      const message = `No backend connects vif${xen.domid}.0: open a Netback on the model's \`xen\`, and accept this vif.`;
      stop.abort(new VifdError('ERR_STATE', message));
    });
    const { signal } = stop;
    const front = await Netfront.connect({ xen, handle: 0, port, signal });
    await front.connected({ signal });
    return new ModelGuest(xen, mac, front, port, inbox);
  }

  /** How many frames were not copied, because 1024 waited for `receive`. */
  get missed(): number {
    return this.#inbox.missed;
  }

  /**
   * Sends a frame: 14 bytes (an Ethernet header) to 64 KiB, with complete checksums. The bytes must not change until it has been sent.
   * @returns false if 65536 frames wait to be sent: this one is dropped.
   */
  send(frame: Uint8Array): boolean {
    return this.#port.send(frame);
  }

  /** Returns the oldest of the frames in `received`, and removes it there; if there is none, it waits for one. Not with `onFrame`. */
  receive(): Promise<Uint8Array> {
    return this.#inbox.next();
  }

  /** Closes the vif, as a guest that removes its driver. Idempotent. */
  close(): Promise<void> {
    return this.front.close();
  }
}

/** Frames that a guest received, and who waits for one. */
class Inbox {
  readonly frames: Uint8Array[] = [];
  readonly #waiting: ((frame: Uint8Array) => void)[] = [];
  missed = 0;

  add(frame: Uint8Array): void {
    const first = this.#waiting.shift();
    if (first !== undefined) first(frame.slice());
    else if (this.frames.length < RECEIVED_MAX) this.frames.push(frame.slice());
    else this.missed++;
  }

  next(): Promise<Uint8Array> {
    const frame = this.frames.shift();
    if (frame !== undefined) return Promise.resolve(frame);
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }
}

/** In the range of Xen's OUI, 00:16:3e. */
function macOf(domid: number): string {
  const bytes = [domid >>> 16, domid >>> 8, domid].map((byte) => (byte & 0xff).toString(16).padStart(2, '0'));
  return `00:16:3e:${bytes.join(':')}`;
}
