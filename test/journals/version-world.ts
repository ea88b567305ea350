import { type Journals, memoryJournals } from '../../lib/durable/journal.js';
import type { JournalVersion } from '../../lib/durable/layout.js';
import { Netback } from '../../lib/netback/netback.js';
import type { PayloadMode } from '../../lib/netback/settings.js';
import type { Port, PortBatches, PortIo, PortOptions } from '../../lib/ports/port.js';
import { backendVifPath, frontendVifPath } from '../../lib/protocol/xenbus.js';
import { ModelHypervisor, ModelKilled, type ModelXen } from '../../lib/testing/model/index.js';
import { createVif } from '../../lib/testing/netfront/index.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { Guest, type GuestFrame } from './guest.mjs';
import { type OldNetback, oldJournals } from './old-code.js';

export const QUEUES = 2;
/** More than any test uses: a page has one use. */
const PAGES = 512;
const MAC = '00:16:3e:00:00:07';
const [DOMID, HANDLE] = [7, 0];
const BACKEND = backendVifPath(0, DOMID, HANDLE);

/** A build that may serve the guest: code of today, or that of an earlier commit. */
export interface Build {
  readonly name: string;
  /** Of code of an earlier commit; of today's without. */
  readonly old?: OldNetback;
  /** For today's code. */
  readonly options?: { readonly journalVersion: JournalVersion };
}

/** Credit: bytes of an interval that is longer than any test. */
export const RATE = { bytes: 60_000, intervalMs: 3_000_000 };

/** One queue of the host's end. */
class HostQueue extends TestPort {
  /** Runs before each frame that is written. */
  onFrame: () => void = () => {};
  #holds = false;
  #onReadable: (() => void) | undefined;

  /** Puts frames in at once, so that a backend reads them in one batch. */
  putAll(frames: readonly Uint8Array[]): void {
    this.#holds = true;
    for (const frame of frames) this.put(frame);
    this.#holds = false;
    const onReadable = this.#onReadable;
    this.#onReadable = undefined;
    onReadable?.();
  }

  override open(batches: PortBatches, options: PortOptions): PortIo {
    const onReadable = () => {
      if (this.#holds) this.#onReadable = options.onReadable;
      else options.onReadable();
    };
    return super.open(batches, { ...options, onReadable });
  }

  protected override frameOf(batches: PortBatches, index: number): Uint8Array {
    this.onFrame();
    return super.frameOf(batches, index);
  }
}

/** The host's end of the vif, which outlives the backends as a persistent tap does. All frames for the guest come by the first queue. */
class HostPort implements Port {
  readonly name = 'host';
  readonly queuesMax = QUEUES;
  readonly queues: readonly HostQueue[];
  readonly writesMapped: boolean;

  constructor(payload: PayloadMode) {
    this.writesMapped = payload === 'map';
    this.queues = Array.from({ length: QUEUES }, () => new HostQueue(this.writesMapped));
  }

  open(batches: PortBatches, options: PortOptions): PortIo {
    return this.queues[options.queue?.index ?? 0]!.open(batches, options);
  }

  setCarrier(): boolean {
    return true;
  }

  async remove(): Promise<void> {}
  async [Symbol.asyncDispose](): Promise<void> {}
}

/** One guest, one set of journals, and one backend after the other, of any builds. */
export class VersionWorld {
  readonly hypervisor = new ModelHypervisor();
  readonly journals: Journals;
  readonly #journalBytes = new Map<string, Uint8Array>();
  readonly host: HostPort;
  readonly guest: Guest;
  /** What the backends reported, and whether each found that the guest was served before. */
  readonly errors: Error[] = [];
  readonly resumed: boolean[] = [];
  readonly #payload: PayloadMode;
  readonly #guestXen: ModelXen;
  #xen!: ModelXen;
  #netback!: AsyncDisposable;
  #isThere: () => boolean = () => false;

  private constructor(payload: PayloadMode, keys: Readonly<Record<string, string>>) {
    this.#payload = payload;
    const memory = memoryJournals();
    this.journals = {
      ...memory,
      open: (name, size) => {
        const pages = memory.open(name, size);
        this.#journalBytes.set(name, pages.bytes);
        return pages;
      },
    };
    this.host = new HostPort(payload);
    this.#guestXen = this.hypervisor.open(DOMID);
    this.guest = new Guest(this.#guestXen, {
      ...{ queues: QUEUES, split: true, control: true, pages: PAGES },
      keys: { 'request-multicast-control': '1', ...keys },
      settle: () => this.hypervisor.settle(),
    });
  }

  /** Returns a world whose guest is connected to a backend of that build. @param keys of the guest, in addition to its usual ones. */
  static async open(
    payload: PayloadMode,
    build: Build,
    keys: Readonly<Record<string, string>> = {},
  ): Promise<VersionWorld> {
    const world = new VersionWorld(payload, keys);
    // The end of an interval of the rate, in microseconds, needs more than 32 bits.
    await world.hypervisor.advance(5_000_000);
    const { store } = world.hypervisor.open(0);
    await world.settled(createVif(store, { domid: DOMID, handle: HANDLE, mac: MAC }));
    await world.settled(store.write(`${BACKEND}/rate`, `${RATE.bytes},${RATE.intervalMs * 1000}`));
    await world.start(build);
    await world.settled(world.guest.connect(world.#guestXen.store, frontendVifPath(DOMID, HANDLE)));
    await world.settle();
    return world;
  }

  async start(build: Build): Promise<void> {
    this.#netback = await this.settled(this.#open(build));
    await this.settle();
  }

  /** Starts a backend and kills it at a step of its work. @returns false if it had fewer steps, and still runs. */
  async startAndKill(build: Build, step: number): Promise<boolean> {
    let steps = 0;
    this.killAt(() => ++steps === step);
    const opening = this.#open(build);
    // Its end, as a rejection or without any.
    opening.catch(() => {});
    await this.settle();
    this.killAt(() => false);
    if (!this.killed) this.#netback = await opening;
    return this.killed;
  }

  #open(build: Build): Promise<AsyncDisposable> {
    const xen = this.hypervisor.open(0, {
      onStep: (what) => {
        if (this.#xen === xen && this.#isThere()) throw new ModelKilled(what);
      },
    });
    this.#xen = xen;
    const options = { xen, port: () => this.host, payload: this.#payload, queues: QUEUES };
    const listeners = {
      attached: (_vif: unknown, how: { readonly resumed: boolean }) => this.resumed.push(how.resumed),
      // A killed process reports nothing.
      error: (error: Error) => xen.alive && this.errors.push(error),
    };
    const { journals } = this;
    return build.old === undefined
      ? Netback.open({ ...options, journals, ...build.options }, listeners)
      : build.old.open({ ...options, journals: oldJournals(journals) }, listeners);
  }

  /** Ends the backend in order. The model fails it when it leaves a mapping, a port or a watch behind. */
  async stop(): Promise<void> {
    await this.settled(this.#netback[Symbol.asyncDispose]());
    await this.settled(this.#xen[Symbol.asyncDispose]());
  }

  /** SIGKILL. */
  kill(): void {
    this.hypervisor.kill(this.#xen);
  }

  /** Kills the backend at its first step at which this holds. */
  killAt(isThere: () => boolean): void {
    this.#isThere = isThere;
  }

  get killed(): boolean {
    return !this.#xen.alive;
  }

  /** Frames for the guest, as one. */
  put(frames: readonly GuestFrame[]): void {
    try {
      this.host.queues[0]!.putAll(frames);
    } catch (error) {
      // The backend may end while it reads them.
      if (!(error instanceof ModelKilled)) throw error;
    }
  }

  /** The frames that the guest's queues received. */
  get received() {
    return this.guest.queues.map((_queue, index) => this.guest.received(index));
  }

  /** The frames that were written into the host's end. */
  get written(): Uint8Array[] {
    return this.host.queues.flatMap(({ written }) => written);
  }

  /** The bytes of a journal that a backend has open, or left. */
  journal(name: string): Buffer {
    const bytes = this.#journalBytes.get(name);
    return bytes === undefined ? Buffer.alloc(0) : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  settle(): Promise<void> {
    return this.hypervisor.settle();
  }

  async settled<T>(work: PromiseLike<T>): Promise<T> {
    await this.settle();
    return work;
  }
}
